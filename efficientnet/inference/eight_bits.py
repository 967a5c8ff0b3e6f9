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
from .fidelity import Fidelity

MOST_IMAGES = 300
# More images to calibrate on changed little on Lite0; more to measure on do not hang on a single one.
_HELD_OUT_SHARE = 0.5
# At 224 x 224 pixels; of larger images fewer, down to the least.
_MOST_VIEWS, _LEAST_VIEWS, _VIEW_SIDE = 1000, 100, 224
_LEAST_SIDE = 0.7  # least side of a view, as a share of the image's shorter side
_RANKED_ON = 8  # images
_BATCH = 4
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

    A view is a square of 70 to 100 % of the image's shorter side, at a random place, every other time mirrored. There
    are 1,000 at 224 pixels, fewer of larger images; the first of each image is what predictions see of it.

    Args:
        sources: Images; the first 300 count.
        spec: Spec of the model.

    Raises:
        ValueError: There are no images, or the model does not record how pixels are scaled.
        OSError: An image cannot be read.
    """
    listed = list(itertools.islice(sources, MOST_IMAGES))
    if not listed:
        raise ValueError(
            "precision='int8' finds the ranges of its 8-bit numbers by calibration: pass calibration=, a few hundred "
            "images of the kind that the model will see (--calibrate FOLDER)."
        )
    rng = np.random.default_rng(0)
    count = max(1, int(_HELD_OUT_SHARE * len(listed))) if len(listed) > 1 else 0
    held = {*rng.permutation(len(listed))[:count].tolist()}
    height, width = spec.image_sides
    total = min(_MOST_VIEWS, max(_LEAST_VIEWS, _MOST_VIEWS * _VIEW_SIDE**2 // (height * width)))
    each = math.ceil(total / max(1, count))
    images, views = [], []
    for place, source in enumerate(listed):
        pixels = np.asarray(read_pixels(source, spec.channels))
        whole = spec.image(pixels)
        if place not in held:
            images.append(_stored(whole, spec))
        if place in held or not held:
            crops = (_crop(pixels, rng) for _ in range(each - 1))
            views += [_stored(view, spec) for view in (whole, *(_resized(crop, spec) for crop in crops))]
    return Calibration(np.stack(images), np.stack(views[:total]), count)


def _crop(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = max(1, round(min(height, width) * rng.uniform(_LEAST_SIDE, 1)))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    square = pixels[top : top + side, left : left + side]
    return square[:, ::-1] if rng.random() < 0.5 else square


def _resized(crop: np.ndarray, spec: InputSpec) -> np.ndarray:
    return spec._replace(crop=1.0).image(crop, decides=False)


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
        agreement: Least share of views that keep their class, 0..1; the mean shift of the probability may be twice
            the rest.
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
        if best is None or (fidelity.agreement or 0) >= (best.agreement or 0):
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
    if spec.kind in ("features", "numbers") or not np.isfinite(difference):
        return Fidelity(difference, None, None, count, held_out)
    as_logits = spec.kind in ("logits", "unknown")
    ours, theirs = (spec.probabilities(outputs[0], as_logits) for outputs in (found, expected))
    best, rows = theirs.argmax(axis=-1), np.arange(count)
    agreement = float(np.mean(ours.argmax(axis=-1) == best))
    shift = float(np.abs(ours[rows, best] - theirs[rows, best]).mean())
    return Fidelity(difference, agreement, shift, count, held_out)
