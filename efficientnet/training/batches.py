"""The batches of a training. Each depends on seed, epoch and step alone.

So a resumed training continues with the batches that it would have had, and several processes each take their slice
of the same batches.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..common.text import notify, plain
from ..datasets.data import Data, Files, square
from ..errors import UnreadableImageError
from ..images.bands import joined, planes
from .autoaugment import auto_augment
from .objectives import Objective, objective
from .randaugment import rand_augment
from .recipes import Recipe, Stage

if TYPE_CHECKING:
    from .teacher import Teacher

_AHEAD = 2  # batches to prepare while a step computes
_AT_A_TIME = 4  # images that a thread is given: for small ones, handing them over takes as long as making them
_ASPECTS = (3 / 4, 4 / 3)  # width to height of a random crop
_CROP_TRIALS = 10
_ERASED_AREA = (0.02, 0.33)  # fractions of the image's area
_ERASED_ASPECT = math.log(1 / 0.3)

# Purposes of random numbers; each has its own stream.
_ORDER, _IMAGES, _MIXING, _NETWORK = range(4)


class Batch(NamedTuple):
    """Inputs of a step: (images, size, size, channels) raw pixels 0..255, (images, outputs), (images,) weights."""

    pixels: NDArray[np.float32]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]

    def split(self, parts: int) -> Iterator[Batch]:
        """Yield parts of equal size."""
        for arrays in zip(*(np.split(array, parts) for array in self), strict=True):
            yield Batch(*arrays)


@dataclass(frozen=True)
class Batches:
    """The batches of a stage, in the order of its steps.

    Attributes:
        data: Images.
        recipe, stage: Settings of the augmentation.
        seed: Seed of all random choices.
        share: Rows of each batch that are this process' part.
        balance: Whether all classes count equally.
        features: Features that replace the pixels in the head's stage, (images, channels).
        teacher: Model whose predictions are mixed into the targets of the augmented images.
    """

    data: Data
    recipe: Recipe
    stage: Stage
    seed: int
    share: slice
    balance: bool = False
    features: NDArray[np.float32] | None = None
    teacher: Teacher | None = None

    @functools.cached_property
    def objective(self) -> Objective:
        """What the network is trained to do."""
        return objective(self.data, self.recipe, self.balance)

    @property
    def size(self) -> int:
        """Images of a step, of all processes together."""
        return self.recipe.batch(len(self.data.training), self.stage.trained)

    @property
    def parts(self) -> int:
        """Parts that a batch is computed in."""
        return self.recipe.parts(self.stage.trained)

    @property
    def size_of_part(self) -> int:
        """Images that are computed at a time, of all processes together."""
        return self.size // self.parts

    @property
    def steps(self) -> int:
        """Steps of an epoch; the rest of a pass over the images may come in another pass."""
        return max(self._steps_per_pass, self.stage.least_steps)

    @property
    def _steps_per_pass(self) -> int:
        return len(self.data.training) // self.size

    def rows(self, step: int) -> NDArray[np.integer[Any]]:
        """Return the indices of the images of a step of the stage, counted from 0."""
        number, index = divmod(step, self._steps_per_pass)
        return self._order(number)[index * self.size : (index + 1) * self.size]

    @functools.cached_property
    def _order(self) -> Callable[[int], NDArray[np.integer[Any]]]:
        """The order of a pass's images, cached: millions of images are too slow to shuffle for each step."""
        return functools.lru_cache(1)(lambda number: self._rng(_ORDER, number).permutation(self.data.training))

    def batch(self, step: int, threads: ThreadPoolExecutor) -> Batch:
        """Return the inputs of a step of the stage. If images are mixed, return all processes' parts, unmixed.

        Raises:
            FileNotFoundError: An image's file is gone.
        """
        rows = self.rows(step)
        # Partners of a mixture may be in any process' part.
        here = rows if self._mixes else rows[self.share]
        weights = self.objective.image_weights(here)
        targets = self.objective.encode(here)
        if self.features is not None:
            return Batch(self.features[here], targets, weights)
        parts = [here[start : start + _AT_A_TIME] for start in range(0, len(here), _AT_A_TIME)]
        made = threads.map(lambda part: [self.image(int(row), step) for row in part], parts)
        images = list(itertools.chain.from_iterable(made))
        weights = weights * np.array([image is not None for image in images], np.float32)
        blank = np.zeros((self.stage.image_size, self.stage.image_size, self.data.channels), np.uint8)
        pixels = np.stack([blank if image is None else image for image in images])
        return Batch(pixels.astype(np.float32), targets, weights)

    def step_seed(self, step: int, rank: int) -> int:
        """Return the seed of the network's random numbers in a step, in one of the processes."""
        return int(self._rng(_NETWORK, step, rank).integers(2**63))

    def with_features(self, features: NDArray[np.float32]) -> Batches:
        """Return the same batches with feature vectors in place of the images."""
        return dataclasses.replace(self, features=features)

    def from_step(self, first: int, last: int) -> Generator[Batch]:
        """Yield the batches of the steps from ``first`` to before ``last``; a thread makes them ahead of time."""
        with ThreadPoolExecutor() as threads, ThreadPoolExecutor(1) as maker:
            waiting = deque(maker.submit(self.batch, step, threads) for step in range(first, min(first + _AHEAD, last)))
            try:
                for step in range(first, last):
                    batch = waiting.popleft().result()
                    if step + _AHEAD < last:
                        waiting.append(maker.submit(self.batch, step + _AHEAD, threads))
                    yield self._finish(batch, step)
            finally:
                maker.shutdown(cancel_futures=True)

    def _finish(self, batch: Batch, step: int) -> Batch:
        """Finish a batch in the main thread: on PyTorch, mixup shares the network's random generator."""
        if self._mixes:
            batch = Batch(*(array[self.share] for array in self._mix(batch, step)))
        if self.teacher is not None and self.features is None:
            taught = self.recipe.teacher_share
            batch = batch._replace(targets=(1 - taught) * batch.targets + taught * self.teacher(batch.pixels))
        return batch._replace(weights=batch.weights * self.objective.weigh(batch.targets))

    @property
    def _mixes(self) -> bool:
        return self.stage.mixup > 0 and self.features is None

    def image(self, row: int, step: int) -> NDArray[np.uint8] | None:
        """Return an augmented image, (size, size, channels); None if its file cannot be read."""
        pixels = read_pixels(self.data, row)
        if pixels is None:
            return None
        recipe, size = self.recipe, self.stage.image_size
        rng = self._rng(_IMAGES, step, row)
        if recipe.crop < 1:
            pixels = random_crop(pixels, size, recipe.crop, rng)
        else:
            pixels = shifted(_evaluated(self.data, pixels, size), recipe.shift, rng)
        if recipe.flip and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if self.stage.magnitude > 0:
            pixels = joined(rand_augment(planes(pixels), self.stage.magnitude, rng))
        if recipe.auto_augment:
            pixels = joined(auto_augment(planes(pixels), rng))
        if rng.random() < recipe.erase:
            pixels = erased(pixels, rng)
        return pixels

    def _mix(self, batch: Batch, step: int) -> Batch:
        """Mix each image and its target with another image's."""
        import keras

        state = self._mixup.generator.state
        state.assign(np.array(self._rng(_MIXING, step).integers(0, 2**31, 2), state.dtype))
        is_weighed = self.data.targets.weights is not None
        labels = np.column_stack([batch.targets, batch.weights]) if is_weighed else batch.targets
        mixed = self._mixup({"images": batch.pixels, "labels": labels})
        pixels, labels = (keras.ops.convert_to_numpy(mixed[key]) for key in ("images", "labels"))
        if is_weighed:
            return Batch(pixels, labels[:, :-1], labels[:, -1])
        return batch._replace(pixels=pixels, targets=labels)

    @functools.cached_property
    def _mixup(self) -> Any:
        import keras

        return keras.layers.MixUp(alpha=self.stage.mixup)

    def _rng(self, use: int, *what: int) -> np.random.Generator:
        stage = zlib.crc32(self.stage.name.encode())  # so that stages of a recipe draw different numbers
        return np.random.default_rng([self.seed, use, stage, *what])


def validation_batches(data: Data, size: int, batch_size: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield one pass over the validation images: raw pixels, float32, and indices. Unreadable ones are left out."""
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(data.validation), batch_size):
            rows = data.validation[start : start + batch_size]
            images = list(threads.map(lambda row: _whole(data, int(row), size), rows))
            kept = [(image, row) for image, row in zip(images, rows, strict=True) if image is not None]
            if kept:
                found, labelled = zip(*kept, strict=True)
                yield np.stack(found).astype(np.float32), np.array(labelled)


def all_images(data: Data, size: int, batch_size: int) -> Iterator[NDArray[np.float32]]:
    """Yield every image of the data in order, unaugmented; unreadable ones are black."""
    blank = np.zeros((size, size, data.channels), np.uint8)
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(data.pixels), batch_size):
            rows = range(start, min(start + batch_size, len(data.pixels)))
            images = threads.map(lambda row: _whole(data, row, size), rows)
            yield np.stack([blank if image is None else image for image in images]).astype(np.float32)


def _whole(data: Data, row: int, size: int) -> NDArray[np.uint8] | None:
    pixels = read_pixels(data, row)
    return None if pixels is None else _evaluated(data, pixels, size)


def _evaluated(data: Data, pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Crop an image as for evaluation; images that are not files are already cropped."""
    return square(pixels, size, data.crop if isinstance(data.pixels, Files) else 1.0)


def read_pixels(data: Data, row: int) -> NDArray[np.uint8] | None:
    """Read an image's pixels unchanged; return None, and report on stderr, if its file is damaged.

    Raises:
        FileNotFoundError: The image's file is gone.
    """
    try:
        pixels: NDArray[np.uint8] = data.pixels[row]
    except UnreadableImageError as error:
        notify(f"left out {plain(data.pixels.paths[row])}: {error}")
        return None
    return pixels


def random_crop(pixels: NDArray[np.uint8], size: int, smallest: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Crop a rectangle of ``smallest``..1 of the area and an aspect of 3/4..4/3, and resize it to a square.

    If ten random ones do not fit into the image, take its central square.
    """
    from PIL import Image

    height, width = pixels.shape[:2]
    for _ in range(_CROP_TRIALS):
        area = height * width * rng.uniform(smallest, 1.0)
        aspect = math.exp(rng.uniform(math.log(_ASPECTS[0]), math.log(_ASPECTS[1])))
        w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            break
    else:
        w = h = min(height, width)
        left, top = (width - w) / 2, (height - h) / 2
    box = (left, top, left + w, top + h)
    return joined([image.resize((size, size), Image.Resampling.BICUBIC, box=box) for image in planes(pixels)])


def erased(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Replace a rectangle of 2 to 33% of the area, and of an aspect of 0.3 to 3.3, by noise (arXiv 1708.04896)."""
    height, width, channels = pixels.shape
    area = height * width * rng.uniform(*_ERASED_AREA)
    aspect = math.exp(rng.uniform(-_ERASED_ASPECT, _ERASED_ASPECT))
    h, w = min(height, round(math.sqrt(area / aspect))), min(width, round(math.sqrt(area * aspect)))
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    pixels = pixels.copy()
    pixels[top : top + h, left : left + w] = rng.integers(0, 256, (h, w, channels))
    return pixels


def shifted(pixels: NDArray[np.uint8], fraction: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Shift an image by up to this fraction of its side; the edge's pixels fill the gap."""
    size = len(pixels)
    most = round(fraction * size)
    if not most:
        return pixels
    down, right = rng.integers(-most, most + 1, 2)
    index = np.arange(size)
    moved: NDArray[np.uint8] = pixels.take(index + down, axis=0, mode="clip").take(index + right, axis=1, mode="clip")
    return moved
