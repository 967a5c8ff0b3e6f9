"""Models in 8 bits that predict as in float, on images that they were not calibrated on; or none.

Every runtime's 8 bits go through :func:`search`: it measures, keeps the most sensitive layers in float until the
measure is right, and raises where that does not help.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..keras_graph.detours import relative_difference
from ..keras_graph.sensitivity import by_sensitivity
from ..model_io.images import read_pixels
from ..model_io.spec import InputSpec
from .engines import Run
from .fidelity import MOST_IMAGES, Fidelity

# More images to calibrate on changed little on Lite0; more to measure on do not hang on a single one.
_HELD_OUT_SHARE = 0.5
# At 224 x 224 pixels; of larger images fewer, down to the least.
_MOST_VIEWS, _LEAST_VIEWS, _VIEW_SIDE = 1000, 100, 224
_LEAST_SIDE = 0.7  # least side of a view, as a share of the image's shorter side
_RANKED_ON = 8  # images
_BATCH = 4
_ROUNDING = 1e-8  # relative to the square of a number
# Layers in float that are tried; with more of them, 8 bits save little.
_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)


class Calibration(NamedTuple):
    """Images to calibrate on, and views of others to measure on.

    Attributes:
        images: (n, …) pixels 0..255 as the model takes them, cropped and resized as for predictions.
        views: (m, …) the same: the held-out images, and seeded crops of them.
        held_out: Number of images that the views are of and that are not calibrated on; 0 for views of the only image.
    """

    images: np.ndarray
    views: np.ndarray
    held_out: int


def prepare(sources: Iterable[Any], spec: InputSpec) -> Calibration:
    """Read calibration images, and split them: half, drawn at random and always the same, is held out.

    A view is a square of 70 to 100% of the image's shorter side, at a random place, every other time mirrored; for a
    model of images that are not square the whole, shifted. There are 1,000 at 224 pixels, fewer of larger images; the
    first of each image is what predictions see of it.

    Args:
        sources: Images; the first 300 count.
        spec: Spec of the model.

    Raises:
        ValueError: There are no images, all of them have the same single color, or the model does not record how
            pixels are scaled.
        OSError: An image cannot be read.
    """
    listed = list(itertools.islice(sources, MOST_IMAGES))
    if not listed:
        raise ValueError(
            "precision='int8' finds the ranges of its 8-bit numbers by calibration: pass calibration=, a few hundred "
            "images of the kind that the model will see (--calibrate FOLDER)."
        )
    rng = np.random.default_rng(0)
    height, width = spec.image_sides
    total = min(_MOST_VIEWS, max(_LEAST_VIEWS, _MOST_VIEWS * _VIEW_SIDE**2 // (height * width)))
    count = min(total, max(1, int(_HELD_OUT_SHARE * len(listed)))) if len(listed) > 1 else 0
    held = {*rng.permutation(len(listed))[:count].tolist()}
    each = math.ceil(total / max(1, count))
    images, views = [], []  # the views of each held-out image
    for place, source in enumerate(listed):
        pixels = np.asarray(read_pixels(source, spec.channels))
        whole = spec.image(pixels)
        if place not in held:
            images.append(_stored(whole, spec))
        if place in held or not held:
            others = (_view(pixels, spec, rng) for _ in range(each - 1))
            views.append([_stored(view, spec) for view in (whole, *others)])
    # By turns, so that those beyond the total are not all of the last images.
    mixed = np.stack([view for turn in zip(*views, strict=True) for view in turn][:total])
    if (mixed == mixed[0]).all():
        raise ValueError(
            "int8 is refused, since all views of the calibration images are alike, and nothing can be measured on "
            "them: give different images of the kind that the model will see (calibration=, --calibrate)."
        )
    return Calibration(np.stack(images), mixed, count)


def _view(pixels: np.ndarray, spec: InputSpec, rng: np.random.Generator) -> np.ndarray:
    height, width = spec.image_sides
    view = _crop(pixels, rng) if height == width else _shifted(pixels, rng)
    mirrored = view[:, ::-1] if rng.random() < 0.5 else view
    return spec._replace(crop=1.0).image(mirrored, decides=False)


def _crop(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = max(1, round(min(height, width) * rng.uniform(_LEAST_SIDE, 1)))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    return pixels[top : top + side, left : left + side]


def _shifted(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image moved within its mirrored surroundings, as far as a crop may be from the center."""
    most = [round(side * (1 - _LEAST_SIDE) / 2) for side in pixels.shape[:2]]
    around = np.pad(pixels, [*((by, by) for by in most), *[(0, 0)] * (pixels.ndim - 2)], "symmetric")
    top, left = (rng.integers(0, 2 * by + 1) for by in most)
    return around[top : top + pixels.shape[0], left : left + pixels.shape[1]]


def _stored(view: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Return pixels in a quarter of the memory; other numbers unchanged."""
    return np.rint(view).clip(0, 255).astype(np.uint8) if spec.takes_pixels else view


def search(
    calibration: Calibration,
    spec: InputSpec,
    exact: Run,
    quantized: Callable[[tuple[str, ...]], Run],
    model: Any,
    agreement: float,
    batch: int | None = None,
) -> Fidelity:
    """Quantize a model, with more and more layers in float, until it agrees with the one in float.

    Args:
        calibration: Images, as :func:`prepare` returns them.
        spec: Spec of the model.
        exact: Function that predicts in float, from pixels as ``Calibration`` has them.
        quantized: Function that quantizes, given the names of the layers that stay in float, and returns the function
            that predicts in 8 bits. What it was called with last is what is kept.
        model: Keras model without batch norms, to find the sensitive layers in.
        agreement: Least share of views that keep their prediction, 0..1; the mean shift of the probability may be
            twice the rest. Without classes, least share of the outputs' variance that is kept.
        batch: Number of images that both functions take at most; None for any.

    Raises:
        ValueError: Half of the layers in float do not suffice.
    """
    size = batch or _BATCH
    expected = _outputs(exact, calibration.views, size)
    best: Fidelity | None = None
    for floating, layers in _trials(model, spec.scale(calibration.images[:_RANKED_ON].astype(np.float32))):
        found = _outputs(quantized(floating), calibration.views, size)
        fidelity = _measured(found, expected, spec, calibration.held_out)._replace(layers=layers, floating=floating)
        if fidelity.reaches(agreement):
            return fidelity
        if best is None or fidelity.share >= best.share:
            best = fidelity
    assert best is not None
    raise ValueError(
        f"int8 is refused. At best, {best}. Asked for is {best.asked(agreement)}. Give more "
        "calibration images, a lower agreement (--agreement), or take another precision: f16 in an export, bf16 or f32 "
        "for predictions."
    )


def _trials(model: Any, inputs: np.ndarray) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the layers to keep in float, from none to half of them, and the number of all."""
    yield (), 0
    order = by_sensitivity(model, inputs)
    counts = {max(1, int(share * len(order))) for share in _SHARES}
    for count in sorted(counts):
        if 2 * count <= len(order):
            yield tuple(order[:count]), len(order)


def _outputs(run: Run, views: np.ndarray, size: int) -> list[np.ndarray]:
    parts = [run(views[start : start + size]) for start in range(0, len(views), size)]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _measured(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], spec: InputSpec, held_out: int) -> Fidelity:
    differences = [relative_difference(*pair) for pair in zip(found, expected, strict=True)]
    difference, count = float(np.max(differences)), len(expected[0])  # NaN where any is
    whole = Fidelity(difference, None, None, count, held_out)
    if not np.isfinite(difference):
        return whole
    if spec.kind in ("features", "numbers"):
        each = spec.activation == "linear"  # as numbers to predict are, and features mostly not
        return whole._replace(kept=min(_kept(*pair, each) for pair in zip(found, expected, strict=True)))
    as_logits = spec.kind in ("logits", "unknown")
    ours, theirs = (spec.probabilities(outputs[0], as_logits) for outputs in (found, expected))
    best, rows = theirs.argmax(axis=-1), np.arange(count)
    shift = float(np.abs(ours[rows, best] - theirs[rows, best]).mean())
    return whole._replace(agreement=spec.agreement(found[0], expected[0]), shift=shift)


def _kept(found: np.ndarray, expected: np.ndarray, each: bool) -> float:
    """Return the share of an output's variance over the views that is the same, 0..1.

    Args:
        found, expected: (views, …) outputs in 8 bits and in float.
        each: Whether each number counts alike, whatever its scale. Of features, some hardly vary, and count little.
    """
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    parts = np.square(found - expected).mean(axis=0), expected.var(axis=0), np.square(expected).mean(axis=0)
    wrong, variance, power = parts if each else (np.array(part.sum()) for part in parts)
    # What is the same for all views but for rounding has no variance to keep, and is measured by its size.
    lost = wrong / np.maximum(np.maximum(variance, _ROUNDING * power), np.finfo(np.float64).tiny)
    return float(1 - np.minimum(lost, 1).mean())
