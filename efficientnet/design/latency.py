"""A latency model: it predicts how long networks of the family take on this machine, from small ones measured once.

A network's time is a sum over its layers: so much for each multiply-add of a kind, each number moved, each weight read,
each layer. What each costs follows from the measured times of a table of small networks, by least squares without
negative costs. The table lies beside the downloaded weights, and grows until it is complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import platform
import statistics
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..common.json_files import read_object, write_json
from ..common.packages import missing
from ..common.processors import processors
from ..common.text import get_logger
from ..family import costs
from ..family.scaling import AnyVariant
from ..family.variants import Variant, get_variant
from ..weights.download import cache_dir
from .baselines import Baseline, checked_baseline
from .probes import REFERENCE, build, probe
from .timing import Timed, by_turns

logger = get_logger()

NETWORKS = 160  # small networks in a table
# Spread of the reference's times if other programs kept the machine busy. (How fast a virtual machine is changes by
# half, but not from one run to the next.)
_BUSY = 1.25
_FORMAT = 4  # version of the table's format
_PACKAGES = ("efficientnet", "openvino", "onnxruntime", "ai-edge-litert", "keras")

_CHANNELS = 16  # channels that vector units compute at once
_CACHES = (250_000, 1_000_000)  # numbers of feature maps beyond which caches, one after the other, do not hold them
_KINDS = {"expand": "pointwise", "project": "pointwise", "head": "pointwise"}
_DENSE = {"squeeze", "excite", "classifier"}


@dataclasses.dataclass(frozen=True)
class LatencyModel:
    """A model of how long networks of the family take for one image on this machine; from :func:`latency_model`.

    Attributes:
        timed: Precision, engine and threads that it is of.
        seconds: What each kind of work costs, such as a multiply-add of a pointwise convolution.
        error: Median relative error for the networks of its table, each predicted without it.

    Example:
        >>> from efficientnet.design.timing import Timed
        >>> model = LatencyModel(Timed(), {"network": 0.001, "pointwise": 1e-11}, error=0.03)
        >>> round(model.milliseconds("b0"), 1)
        4.5
    """

    timed: Timed
    seconds: dict[str, float]
    error: float

    def milliseconds(self, variant: AnyVariant) -> float:
        """Predict a network's time for one image.

        Raises:
            ValueError: The variant mixes kernels (CondConv), or there is none of this name.
        """
        return 1000 * sum(self.seconds.get(kind, 0.0) * amount for kind, amount in work(variant).items())


def checked_latency(latency: Any, baseline: Baseline, timed: Timed | None = None) -> LatencyModel:
    """Return a latency model unchanged, which has to predict a baseline's networks, as they are timed.

    Raises:
        TypeError: The argument is not a latency model.
        ValueError: The baseline is not an EfficientNet, or the model is of another precision, engine or thread count.
    """
    model = arguments.instance("latency", latency, LatencyModel, "what latency_model gives")
    if timed not in (None, model.timed):
        raise ValueError(f"latency is of {model.timed}: expected a model of {timed}.")
    check_predictable(baseline)
    return model


def check_predictable(baseline: Baseline) -> None:
    """Check that a latency model predicts a baseline's networks.

    Raises:
        ValueError: The baseline is not an EfficientNet, or mixes kernels.
    """
    if checked_baseline(baseline).variant is None:
        raise ValueError(f"{baseline.name} is not an EfficientNet, and only their times are predicted. Measure it.")
    work(baseline.scaled())


def latency_model(
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "f32",
    *,
    networks: int = NETWORKS,
    again: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> LatencyModel:
    """Measure a table of small networks on this machine, once, and fit a latency model to it.

    That takes some minutes, and a quiet machine; a warning says if it was busy. The table is kept in the folder
    ``latency`` beside the downloaded weights, for each kind and number of processors that this process may use, engine,
    precision, number of threads and release of these packages. After an interruption the same call goes on.

    Args:
        engine: Engine, as for ``efficientnet.inference.compile``; not ``"fastest"``, which differs between networks.
        threads: Processor threads; by default the engine's choice.
        precision: Precision: ``"f32"`` or ``"int8"``; ``"f16"`` is computed in float32.
        networks: Number of small networks to measure, at least 5: fewer take less time and predict less well.
        again: Whether those that were measured while the machine was busy are measured again.
        report: Function that takes the numbers of measured networks and of all, after each.

    Raises:
        ValueError: An argument is out of its range.
        ImportError: The engine, or SciPy, is not installed.

    Example:
        >>> model = latency_model(networks=5)
        >>> model.milliseconds("b4") > model.milliseconds("b0")
        True
    """
    timed = Timed(precision, engine, threads).checked()
    if engine == "fastest":
        raise ValueError("engine='fastest' differs between networks: expected one engine, such as 'openvino'.")
    table = _Table(timed)
    arguments.whole("networks", networks, 5)
    table.complete(
        networks, table.busy(networks) if arguments.flag("again", again) else (), report or (lambda done, count: None)
    )
    if busy := len(table.busy(networks)):
        advice = "When it is quiet, measure with again=True (--again)."
        logger.warning("The machine was busy for %d of %d networks. %s", busy, networks, advice)
    return fitted(timed, [probe(number) for number in range(networks)], table.seconds(networks))


def fitted(timed: Timed, variants: Sequence[Variant], seconds: Sequence[float]) -> LatencyModel:
    """Fit a model to measured times of networks."""
    amounts = [work(variant) for variant in variants]
    kinds = sorted({kind for row in amounts for kind in row})
    # Relative errors count, so each network's equation is divided by its time.
    rows = np.array([[row.get(kind, 0.0) for kind in kinds] for row in amounts]) / np.array(seconds)[:, None]
    folds = np.arange(len(rows)) % 5
    errors = [abs(rows[folds == fold] @ _solve(rows[folds != fold]) - 1) for fold in range(5)]
    return LatencyModel(
        timed, dict(zip(kinds, _solve(rows).tolist(), strict=True)), float(np.median(np.hstack(errors)))
    )


def _solve(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the costs, none negative, that bring each row nearest to 1."""
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise missing("A latency model needs SciPy", "design") from error
    scale = np.maximum(rows.max(axis=0), 1e-30)
    return np.asarray(nnls(rows / scale, np.ones(len(rows)))[0] / scale, np.float64)


def work(variant: AnyVariant) -> dict[str, float]:
    """Return how much of each kind of work a network has to do for one image."""
    variant = get_variant(variant)
    has_exponential = variant.activation not in ("relu", "relu6")
    amounts: dict[str, float] = {"network": 1, "image": 3 * variant.resolution**2}

    def add(kind: str, amount: float) -> None:
        amounts[kind] = amounts.get(kind, 0.0) + amount

    for layer in costs.layers(variant, variant.resolution, variant.classes):
        if layer.experts > 1:
            raise ValueError(f"{variant.name} mixes kernels for each image: no latency model predicts it. Measure it.")
        add("layers", 1)
        if layer.kind in _DENSE:
            add("dense weights", layer.weights)
            add("averaged", layer.taken if layer.kind == "squeeze" else 0)
            continue
        made = layer.filters * layer.side**2
        kind = _KINDS.get(layer.kind, layer.kind)
        if kind == "depthwise":
            kind += f" {math.isqrt(layer.weights // layer.filters)}"
        padded = math.ceil(layer.filters / _CHANNELS) * _CHANNELS / layer.filters
        add(kind, padded * layer.weights * layer.side**2)
        add("weights", layer.weights)
        add("moved", made + layer.taken)
        for most in _CACHES:
            add(f"moved beyond {most}", max(0, made + layer.taken - most))
        if has_exponential and layer.kind != "project":
            add("exponential", made)
    return amounts


class _Table:
    """The seconds of the small networks, in a file; beside each those of a reference, and their spread.

    Both are timed by turns.
    """

    def __init__(self, timed: Timed) -> None:
        about = {"processor": _processor(), "cores": processors(), **timed._asdict(), "versions": _versions()}
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        self.timed, self.about, self.path = timed, about, cache_dir() / "latency" / f"{key}.json"
        self.measured: dict[int, list[float]] = {}
        try:
            content = read_object(self.path)
            if content["format"] != _FORMAT:
                raise ValueError("another format")
            for number, row in content["measured"].items():
                seconds, reference, spread = (
                    arguments.number(number, value, _is_plausible, "seconds") for value in row
                )
                self.measured[int(number)] = [seconds, reference, spread]
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            logger.warning("The table of times %s cannot be used (%s), and is measured anew.", self.path, error)
            self.measured = {}

    def seconds(self, count: int) -> list[float]:
        """Return the times of the first networks, all at the reference's usual speed."""
        rows = [self.measured[number] for number in range(count)]
        usual = statistics.median(reference for _, reference, _ in rows)
        return [usual * seconds / reference for seconds, reference, _ in rows]

    def busy(self, count: int) -> Sequence[int]:
        """Return those of the first networks that were measured while the machine was busy."""
        return [number for number in range(count) if number in self.measured and self.measured[number][2] > _BUSY]

    def complete(self, count: int, again: Sequence[int], report: Callable[[int, int], None]) -> None:
        """Measure what is missing of the first networks, and some again, and write the table after each."""
        missing = [number for number in range(count) if number not in self.measured or number in again]
        if not missing:
            return
        with self.timed.compiled(build(REFERENCE)) as reference:
            for index, number in enumerate(missing, start=1):
                with self.timed.compiled(build(probe(number))) as run:
                    times, usual = by_turns([run, reference])
                self.measured[number] = [times.seconds, *usual]
                write_json(self.path, {"format": _FORMAT, **self.about, "measured": self.measured})
                report(count - len(missing) + index, count)


def _is_plausible(seconds: float) -> bool:
    """Return whether a network can take so long, or one time be so many times another."""
    return 1e-9 < seconds < 1e6


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    return next((line for line in lines if line.startswith("model name")), platform.processor() or platform.machine())


def _versions() -> dict[str, str]:
    return {found.metadata["Name"]: found.version for name in _PACKAGES for found in metadata.distributions(name=name)}
