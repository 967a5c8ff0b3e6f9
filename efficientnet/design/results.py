"""What a design finds out, as data: networks with their costs and accuracies, kept as JSON in the run's folder."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common import arguments
from ..common.files import replacing
from ..common.json_files import read_object

FORMAT = 1


@dataclass(frozen=True)
class Network:
    """A scaled network, trained once for each seed.

    Attributes:
        method: how it was scaled: ``"baseline"``, ``"candidate"``, ``"width"``, ``"depth"``, ``"resolution"``,
            ``"compound"``.
        width: factor of the baseline's filters.
        depth: factor of the baseline's repeats.
        resolution: side of its square input, pixels.
        parameters: trainable numbers.
        macs: multiply-adds for one image.
        accuracies: top-1 on the held-out data, 0..1, one for each seed whose training was finished.
        stopped: trainings that were given up early, as hopeless.
    """

    method: str
    width: float
    depth: float
    resolution: int
    parameters: int
    macs: int
    accuracies: tuple[float, ...] = ()
    stopped: int = 0

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds; NaN where none was finished."""
        return statistics.fmean(self.accuracies) if self.accuracies else math.nan

    @property
    def standard_error(self) -> float:
        """Of the mean, from this network's seeds alone; NaN for fewer than two."""
        count = len(self.accuracies)
        return statistics.stdev(self.accuracies) / math.sqrt(count) if count > 1 else math.nan


@dataclass(frozen=True)
class Results:
    """What a search or a comparison found.

    Attributes:
        kind: ``"search"`` or ``"compare"``.
        baseline: name of the baseline.
        data: what it was trained on: ``name``, ``classes``, ``training`` and ``validation`` (numbers of pictures).
        recipe: how every network was trained, by name of the setting.
        networks: all that were to be trained, the baseline among them where it was.
    """

    kind: str
    baseline: str
    data: dict[str, Any]
    recipe: dict[str, Any]
    networks: tuple[Network, ...]

    @property
    def finished(self) -> tuple[Network, ...]:
        """The networks with at least one accuracy, best first."""
        return tuple(sorted((n for n in self.networks if n.accuracies), key=lambda n: -n.mean))

    @property
    def deviation(self) -> float:
        """Standard deviation between seeds of one network, pooled over all networks; NaN where none has two."""
        groups = [n.accuracies for n in self.networks if len(n.accuracies) > 1]
        freedom = sum(len(group) - 1 for group in groups)
        if not freedom:
            return math.nan
        return math.sqrt(sum(statistics.variance(group) * (len(group) - 1) for group in groups) / freedom)

    def difference_error(self, one: Network, other: Network) -> float:
        """Standard error of the difference of two means; NaN where nothing is known of the noise.

        It comes from the deviation pooled over all networks, since a network's own few seeds tell little.
        """
        return self.deviation * math.sqrt(1 / len(one.accuracies) + 1 / len(other.accuracies))

    def within_noise(self, one: Network, other: Network) -> bool:
        """Whether the seeds alone explain the difference of two means: it is under two of its standard errors.

        Without any repeated network nothing is known of the noise, and every difference counts as noise.
        """
        return one.mean == other.mean or not abs(one.mean - other.mean) >= 2 * self.difference_error(one, other)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as JSON; a file is replaced as a whole."""
        with replacing(Path(arguments.path("path", path, "the path of the file to write"))) as part:
            part.write_text(
                json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n", encoding="utf-8"
            )


def load_results(path: str | os.PathLike[str]) -> Results:
    """Reads what :meth:`Results.save` wrote.

    Raises:
        ValueError: the file holds something else; the message says what.
        OSError: it cannot be read.
    """
    path = arguments.path("path", path, "the path of a search.json or compare.json")
    try:
        content = read_object(path)
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        networks = tuple(Network(**{**n, "accuracies": tuple(n["accuracies"])}) for n in content.pop("networks"))
        return Results(**content, networks=networks)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} does not hold the results of a design ({error}): give a folder that `efficientnet design search` "
            "or `compare` has written."
        ) from None
