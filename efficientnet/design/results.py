"""Results of a design: networks with their costs and accuracies, kept as JSON in the run's folder."""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common import arguments
from ..common.json_files import read_object, write_json

FORMAT = 1


@dataclass(frozen=True)
class Network:
    """A scaled network, trained once for each seed.

    Attributes:
        method: Method of scaling: ``"baseline"``, ``"candidate"``, ``"width"``, ``"depth"``, ``"resolution"``,
            ``"compound"``.
        width: Factor of the baseline's filters.
        depth: Factor of the baseline's repeats.
        resolution: Side of the square input, pixels.
        parameters: Number of trainable parameters.
        macs: Multiply-adds for one image.
        accuracies: Top-1 accuracies on the held-out data, 0..1, one for each seed whose training was finished.
        stopped: Number of trainings that were given up early, as hopeless.

    Example:
        >>> network = Network("width", 2.0, 1.0, 64, parameters=10_000, macs=1_000_000, accuracies=(0.75, 0.25))
        >>> network.mean
        0.5
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
        """Mean accuracy over the seeds; NaN if none was finished."""
        return statistics.fmean(self.accuracies) if self.accuracies else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of the mean, from this network's seeds alone; NaN for fewer than two."""
        count = len(self.accuracies)
        return statistics.stdev(self.accuracies) / math.sqrt(count) if count > 1 else math.nan


@dataclass(frozen=True)
class Results:
    """Results of a search or a comparison.

    Attributes:
        kind: Kind of the run, ``"search"`` or ``"compare"``.
        baseline: Name of the baseline.
        data: Description of the data: ``name``, ``classes``, ``training`` and ``validation`` (numbers of images).
        recipe: Settings of every training, by name.
        networks: All networks of the run, the baseline among them if it was trained.

    Example:
        >>> baseline = Network("baseline", 1.0, 1.0, 64, parameters=10_000, macs=1_000_000, accuracies=(0.75, 0.25))
        >>> data = {"name": "photos", "classes": 2, "training": 8, "validation": 4}
        >>> results = Results("compare", "mine", data, {}, (baseline,))
        >>> [network.mean for network in results.finished]
        [0.5]
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

    def finished_of(self, method: str) -> tuple[Network, ...]:
        """Return the finished networks of a method, best first."""
        return tuple(n for n in self.finished if n.method == method)

    @property
    def deviation(self) -> float:
        """Standard deviation between seeds of one network, pooled over all networks; NaN if none has two."""
        groups = [n.accuracies for n in self.networks if len(n.accuracies) > 1]
        freedom = sum(len(group) - 1 for group in groups)
        if not freedom:
            return math.nan
        return math.sqrt(sum(statistics.variance(group) * (len(group) - 1) for group in groups) / freedom)

    def difference_error(self, one: Network, other: Network) -> float:
        """Return the standard error of the difference of two means; NaN if the noise is unknown.

        It comes from the deviation pooled over all networks, since a network's own few seeds say little.
        """
        return self.deviation * math.sqrt(1 / len(one.accuracies) + 1 / len(other.accuracies))

    def within_noise(self, one: Network, other: Network) -> bool:
        """Return whether seeds alone explain the difference of two means: it is under two of its standard errors.

        Without any repeated network the noise is unknown, and every difference counts as noise.
        """
        return one.mean == other.mean or not abs(one.mean - other.mean) >= 2 * self.difference_error(one, other)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the results as JSON; an existing file is replaced as a whole."""
        file = Path(arguments.path("path", path, "the path of the file to write"))
        write_json(file, {"format": FORMAT, **dataclasses.asdict(self)})


def load_results(path: str | os.PathLike[str]) -> Results:
    """Read what :meth:`Results.save` wrote.

    Args:
        path: Path of a ``search.json`` or ``compare.json``.

    Raises:
        ValueError: The file has other content; the message says what.
        OSError: The file cannot be read.

    Example:
        >>> data = {"name": "photos", "classes": 2, "training": 8, "validation": 4}
        >>> results = Results("compare", "mine", data, {}, ())
        >>> results.save("compare.json")
        >>> load_results("compare.json") == results
        True
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
