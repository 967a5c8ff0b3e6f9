"""Recipes: how the papers train, and how to fine-tune, as data."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.json_files import is_number, read_object, write_json
from ..family.variants import Variant

# Losses that a recipe may choose, by the kind of the targets; the usual ones aside.
LOSSES: Mapping[str, tuple[str, ...]] = {"labels": ("asymmetric",), "values": ("huber",)}
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
_BATCH, _LEAST_BATCH, _LEAST_STEPS = 32, 8, 10  # for a recipe without a batch size


@dataclass(frozen=True)
class Stage:
    """Part of a training with one network, one image size and one strength of augmentation.

    Attributes:
        name: Name in the log.
        epochs: Epochs of the stage.
        image_size: Side of the images, pixels.
        magnitude: Magnitude of RandAugment, 0 for none.
        mixup: Alpha of mixup's beta distribution, 0 for none.
        dropout: Dropout before the classifier, 0..1.
        trained: Trained part: "head" for the classifier alone, on features that are computed once; "blocks" for the
            last blocks with it; "all".
        least_steps: Least steps per epoch; if one pass over the images has fewer, an epoch has several passes.
    """

    name: str
    epochs: int
    image_size: int
    magnitude: float
    mixup: float
    dropout: float
    trained: str
    least_steps: int = 1


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training. The defaults are those of :data:`FINETUNE`.

    Pairs are of the first and the last stage; in between they grow in equal steps.

    Attributes:
        name: Name of the recipe.
        epochs: Epochs in all, those of the head included.
        head_epochs: Epochs that train the classifier alone, on features of the frozen network.
        head_steps: Least number of steps of the classifier alone, together. A step on features that are computed
            once takes next to no time, so a small data set is repeated as often as needed.
        epoch_steps: Least number of steps of an epoch after the head's stage. If a pass over the images has fewer, an
            epoch has several passes: ten passes over fifty images teach a network less than the head knows already.
        batch_size: Images per step, over all processes, or all images if they are fewer. None takes 32, and after the
            head's stage as few as 8 if an epoch would have less than 10 steps.
        accumulate: Parts that a batch is computed in, one after the other, for less memory; the step takes the mean of
            their gradients. Not for the head alone. Batch norm that is trained has the statistics of each part.
        precision: Keras' dtype policy of the network: "float32"; or "mixed_bfloat16" or "mixed_float16", which compute
            in 16 bits and keep the weights in 32. The saved model computes in 32 bits.
        optimizer: "rmsprop", with decay and momentum 0.9 and epsilon 0.001, or "adamw".
        learning_rate: Peak learning rate at ``reference_batch`` images per step; it grows with the batch size.
        head_learning_rate: Peak learning rate of the classifier alone, at ``reference_batch`` images per step.
        reference_batch: Batch size that the learning rates refer to; None if they do not depend on the batch size.
        decay: Decay of the learning rate: "exponential", by 0.97 each 2.4 epochs, or "cosine", to zero.
        full_rate_steps: Least steps, the head's aside, for the full learning rate; with fewer it is lower in
            proportion. At the full rate, few steps undo what the head has learned and end before they make up for it.
        warmup_epochs: Epochs in which the learning rate rises from zero, for each optimizer.
        warmup_steps: Least steps in which it rises, but at most half of all.
        layer_decay: Factor of the learning rate from each block to the one in front of it.
        weight_decay: Weight decay of kernels only. "rmsprop" has it in its loss, as half the sum of squares times this,
            like the papers' code; "adamw" beside the gradient (arXiv 1711.05101).
        loss: Loss in place of the usual one of the targets: for labels "asymmetric" (arXiv 2009.14119), which gives
            easy negatives little weight; for values "huber", for which a few far-off ones count less.
        teacher_share: Share of the target that is the teacher's prediction, where there is a teacher, 0..1.
        pseudo_confidence: Least probability of the class that a teacher predicts for an image without a label, which
            is trained on then, 0..1.
        label_smoothing: Share of the target that is spread over all classes, 0..1, where they exclude each other; not
            for the head alone.
        average: Momentum of the moving average of weights, which is validated and saved; 0 for none. Short trainings
            take (1 + steps) / (10 + steps), like the papers' code at its start.
        drop_connect: Stochastic depth of the deepest block, 0..1. It keeps long trainings from overfitting, and short
            ones from learning.
        dropout: Pair of dropouts before the classifier; None for the variant's.
        crop: Least part of an image's area that a random crop keeps; 1 takes the central square.
        shift: Largest random shift of an image, as a fraction of its side.
        flip: Whether half of the images are mirrored.
        magnitude: Pair of magnitudes of RandAugment's two operations, 0..30; 0 for none.
        auto_augment: Whether images are augmented by AutoAugment's policy (arXiv 1805.09501), in place of RandAugment.
        erase: Probability that a random rectangle of an image is replaced by noise (arXiv 1708.04896), 0..1.
        mixup: Pair of alphas of mixup's beta distribution (arXiv 1710.09412); 0 for none.
        stages: Number of stages of equal length over which size, magnitude, mixup and dropout grow.
        first_size: Side of the first stage's images as a fraction of the last's.
        unfreeze: Number of the last blocks that are trained; None for the whole network.
        freeze_batch_norm: Whether batch norm keeps its scale, offset and statistics.
        patience: Epochs without a better one before a stage ends; None for all epochs.

    Example:
        >>> from dataclasses import replace
        >>> replace(FINETUNE, name="short", epochs=3).epochs
        3
    """

    name: str = "finetune"
    epochs: int = 16
    head_epochs: int = 1
    head_steps: int = 1000
    epoch_steps: int = 96
    batch_size: int | None = None
    accumulate: int = 1
    precision: str = "float32"
    optimizer: str = "adamw"
    learning_rate: float = 1.5e-3
    head_learning_rate: float = 1e-2
    reference_batch: int | None = None
    decay: str = "cosine"
    full_rate_steps: int = 320
    warmup_epochs: float = 1.0
    warmup_steps: int = 20
    layer_decay: float = 0.9
    weight_decay: float = 1e-2
    loss: str | None = None
    teacher_share: float = 0.5
    pseudo_confidence: float = 0.3
    label_smoothing: float = 0.1
    average: float = 0.0
    drop_connect: float = 0.0
    dropout: tuple[float, float] | None = None
    crop: float = 1.0
    shift: float = 0.08
    flip: bool = True
    magnitude: tuple[float, float] = (7.0, 7.0)
    auto_augment: bool = False
    erase: float = 0.25
    mixup: tuple[float, float] = (0.0, 0.0)
    stages: int = 1
    first_size: float = 1.0
    unfreeze: int | None = None
    freeze_batch_norm: bool = True
    patience: int | None = None

    def __post_init__(self) -> None:
        for field, kind in typing.get_type_hints(Recipe).items():
            value = getattr(self, field)
            if not _is_of(value, kind):
                kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
                raise ValueError(f"{field}={value!r}: expected {' or '.join(_KINDS[one] for one in kinds)}.")
        for field in ("magnitude", "mixup", "dropout"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, tuple(value))
                if len(value) != 2:
                    raise ValueError(f"{field}={value}: expected a pair, of the first and the last stage.")
        least = {"epochs": 1, "head_epochs": 0, "batch_size": 1, "stages": 1, "unfreeze": 1, "patience": 1}
        least |= {"reference_batch": 1, "warmup_epochs": 0, "learning_rate": 0, "head_learning_rate": 0}
        least |= {"accumulate": 1, "head_steps": 0, "epoch_steps": 0, "full_rate_steps": 0, "warmup_steps": 0}
        for field, minimum in (least | {"weight_decay": 0}).items():
            value = getattr(self, field)
            if value is not None and value < minimum:
                raise ValueError(f"{field}={value}: expected at least {minimum}.")
        fractions: dict[str, tuple[float, ...]] = {
            field: (getattr(self, field),) for field in ("label_smoothing", "average", "drop_connect")
        }
        fractions |= {"shift": (self.shift,), "dropout": self.dropout or ()}
        for field, values in fractions.items():
            if not all(0 <= value < 1 for value in values):
                raise ValueError(f"{field}={getattr(self, field)}: expected at least 0 and less than 1.")
        if not 0 <= self.erase <= 1:
            raise ValueError(f"erase={self.erase}: expected a probability, 0..1.")
        for field in ("crop", "first_size", "layer_decay", "teacher_share", "pseudo_confidence"):
            if not 0 < getattr(self, field) <= 1:
                raise ValueError(f"{field}={getattr(self, field)}: expected more than 0 and at most 1.")
        for field, accepted in (
            ("optimizer", ("rmsprop", "adamw")), ("decay", ("exponential", "cosine")), ("precision", PRECISIONS),
        ):  # fmt: skip
            if getattr(self, field) not in accepted:
                raise ValueError(f"{field}={getattr(self, field)!r}: expected {' or '.join(accepted)}.")
        if self.precision == "mixed_float16" and self.accumulate > 1:
            raise ValueError(
                "precision='mixed_float16' leaves out a part whose gradients overflow, so a step could lack it: take "
                "'mixed_bfloat16' with accumulate, or accumulate=1."
            )
        if self.loss is not None and self.loss not in (known := [name for names in LOSSES.values() for name in names]):
            raise ValueError(f"loss={self.loss!r}: expected {' or '.join(known)}, or null.")
        if not all(0 <= value <= 30 for value in self.magnitude):
            raise ValueError(f"magnitude={self.magnitude}: expected RandAugment's magnitudes, 0..30.")
        if self.auto_augment and any(self.magnitude):
            raise ValueError(
                f"auto_augment=true, magnitude={self.magnitude}: AutoAugment takes the place of RandAugment, so set "
                "magnitude=[0, 0], or auto_augment=false."
            )
        if self.reference_batch and not self.batch_size:
            raise ValueError(
                f"reference_batch={self.reference_batch}: a rate that grows with the batch needs a batch_size."
            )
        if self.batch_size and self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size={self.batch_size}, accumulate={self.accumulate}: expected a batch of equal parts."
            )
        if min(self.mixup) < 0:
            raise ValueError(f"mixup={self.mixup}: expected at least 0.")
        if self.epochs < self.head_epochs:
            raise ValueError(
                f"epochs={self.epochs}, head_epochs={self.head_epochs}: expected at least as many epochs in all as for "
                "the head."
            )
        if 0 < self.body_epochs < self.stages:
            raise ValueError(
                f"epochs={self.epochs}, head_epochs={self.head_epochs}, stages={self.stages}: expected an epoch in "
                "each stage."
            )

    @property
    def body_epochs(self) -> int:
        """Epochs that train more than the classifier."""
        return self.epochs - self.head_epochs

    def batch(self, images: int, trained: str) -> int:
        """Return the batch size of a stage that trains this ("head", "blocks" or "all") on this number of images."""
        fitting = _BATCH if trained == "head" else max(_LEAST_BATCH, min(_BATCH, images // _LEAST_STEPS))
        return self.in_equal_parts(min(self.batch_size or max(fitting, self.accumulate), max(1, images)))

    def in_equal_parts(self, size: int) -> int:
        """Return the largest batch of at most ``size`` images whose parts are equal.

        Raises:
            ValueError: There are more parts than images.
        """
        if size < self.accumulate:
            raise ValueError(f"accumulate={self.accumulate}: expected at most one part for each image, {size}.")
        return size - size % self.accumulate

    def parts(self, trained: str) -> int:
        """Return the parts that a batch of a stage is computed in; features of the head take little memory."""
        return 1 if trained == "head" else self.accumulate

    def plan_stages(self, variant: Variant, image_size: int) -> list[Stage]:
        """Return the stages in their order; ``image_size`` is that of the last, pixels."""
        dropout = self.dropout or (variant.dropout_rate, variant.dropout_rate)
        found = []
        if self.head_epochs:
            steps = math.ceil(self.head_steps / self.head_epochs)
            found.append(Stage("head", self.head_epochs, image_size, 0.0, 0.0, 0.0, "head", steps))
        trained = "all" if self.unfreeze is None else "blocks"
        for index in range(self.stages if self.body_epochs else 0):
            part = index / (self.stages - 1) if self.stages > 1 else 1.0
            size = round(image_size * (self.first_size + (1 - self.first_size) * part))
            epochs = self.body_epochs * (index + 1) // self.stages - self.body_epochs * index // self.stages
            magnitude, mixup, drop = (
                first + (last - first) * part for first, last in (self.magnitude, self.mixup, dropout)
            )
            name = trained if self.stages == 1 else f"{trained} {index + 1}"
            found.append(Stage(name, epochs, size, magnitude, mixup, drop, trained, max(1, self.epoch_steps)))
        return found

    def rate(self, trained: str, steps: int) -> float:
        """Return the highest rate in ``steps`` steps of stages that train this part ("head", "blocks" or "all")."""
        if trained == "head":
            highest = self.head_learning_rate
        else:
            highest = self.learning_rate * min(1.0, steps / max(1, self.full_rate_steps))
        return highest * (self.batch_size / self.reference_batch if self.batch_size and self.reference_batch else 1.0)


_KINDS: Mapping[Any, str] = {
    int: "an integer", float: "a number", bool: "true or false", str: "text", types.NoneType: "null",
    tuple[float, float]: "two numbers such as [0, 0.5]",
}  # fmt: skip


def _is_of(value: Any, kind: Any) -> bool:
    """Return whether a value, of JSON perhaps, is of a field's type; numbers are finite."""
    if isinstance(kind, types.UnionType):
        return any(_is_of(value, one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return isinstance(value, (list, tuple)) and all(_is_of(item, float) for item in value)
    if kind is float:
        return is_number(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


FINETUNE = Recipe()

# arXiv 1905.11946, section 5.2, and the authors' code, which has the warm-up, the epsilon and the 350 epochs.
V1 = Recipe(
    name="v1", epochs=350, head_epochs=0, batch_size=4096, optimizer="rmsprop", learning_rate=0.256,
    reference_batch=4096, decay="exponential", full_rate_steps=0, warmup_epochs=5.0, warmup_steps=0, layer_decay=1.0,
    weight_decay=1e-5, average=0.9999, drop_connect=0.2, crop=0.08, shift=0.0, magnitude=(0.0, 0.0),
    auto_augment=True, erase=0.0, epoch_steps=0, freeze_batch_norm=False, patience=None,
)  # fmt: skip

# arXiv 2104.00298, section 4.2 and table 6, the column of V2-S: 128 to 300 pixels.
V2 = dataclasses.replace(
    V1, name="v2", stages=4, first_size=128 / 300, auto_augment=False, magnitude=(5.0, 15.0), mixup=(0.0, 0.0),
    dropout=(0.1, 0.3),
)  # fmt: skip
_V2_LARGER = {
    "m": {"first_size": 128 / 380, "magnitude": (5.0, 20.0), "mixup": (0.0, 0.2), "dropout": (0.1, 0.4)},
    "l": {"first_size": 128 / 380, "magnitude": (5.0, 25.0), "mixup": (0.0, 0.5), "dropout": (0.1, 0.5)},
}

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (FINETUNE, V1, V2)}


def get_recipe(name: str | os.PathLike[str], variant: Variant) -> Recipe:
    """Return a recipe by its name or from its ``.json`` file; "v2" follows table 6 for the variant's size.

    Raises:
        ValueError: There is no recipe of that name, or the file holds something else.
        FileNotFoundError: There is no such file.

    Example:
        >>> from efficientnet import get_variant
        >>> get_recipe("v2", get_variant("v2-b0")).stages
        4
    """
    if str(name).endswith(".json"):
        return from_json(read_object(name))
    if str(name) not in RECIPES:
        raise ValueError(f"There is no recipe {name!r}: choose {', '.join(RECIPES)}, or give a .json file of one.")
    recipe = RECIPES[str(name)]
    size = variant.name.rpartition("v2-")[2].replace("xl", "l")
    return dataclasses.replace(recipe, **_V2_LARGER[size]) if recipe is V2 and size in _V2_LARGER else recipe  # type: ignore[arg-type]


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's fields, as JSON has them."""
    fields: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return fields


def from_json(fields: Any) -> Recipe:
    """Return the recipe that :func:`to_json` wrote.

    Raises:
        ValueError: A field is unknown, or has an impossible value.
    """
    known = [field.name for field in dataclasses.fields(Recipe)]
    unknown = [key for key in fields if key not in known] if isinstance(fields, dict) else [str(fields)]
    if unknown:
        raise ValueError(f"A recipe has no {', '.join(unknown)}: its fields are {', '.join(known)}.")
    return Recipe(**fields)


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the ``.json`` file that :func:`get_recipe` reads.

    Example:
        >>> from dataclasses import replace
        >>> from pathlib import Path
        >>> from efficientnet import get_variant
        >>> save_recipe(replace(FINETUNE, name="short", epochs=3), Path("short.json"))
        >>> get_recipe("short.json", get_variant("b0")).epochs
        3
    """
    write_json(path, to_json(recipe))


def with_fields(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """Return the recipe with some fields changed, values in JSON ("0.5", "[0, 0.2]", "null", "true") or plain text.

    Raises:
        ValueError: A field is unknown, or has an impossible value.
    """
    changed: dict[str, Any] = {}
    for field, text in settings.items():
        try:
            changed[field] = json.loads(text)
        except json.JSONDecodeError:
            changed[field] = text
    return from_json(to_json(recipe) | changed)
