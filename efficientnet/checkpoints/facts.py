"""Facts of a network in its file of weights, and the format in which this package writes them.

It is one text of JSON, under the name ``efficientnet``: in the metadata of a .safetensors file, in an attribute of an
HDF5 file, or in a member of the archive that a .pth file is. Programs that do not know it can still read these files.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common import json_files
from ..family.scaling import MIN_RESOLUTION, scale_blocks
from ..family.variants import PADDINGS, Variant
from ..images.pixel_scaling import MODES, Scaling, scale_and_offset

if TYPE_CHECKING:
    from .hdf5 import Object

KEY = "efficientnet"
MEMBER = f"{KEY}.json"

# Far above what any file needs: the names of ImageNet-21k's classes take 1 MB.
LARGEST_JSON = 2**26
MOST_CLASSES = 1_000_000
_LARGEST_SIZE = 1 << 16
_LONGEST_ATTRIBUTE = 60_000  # bytes; HDF5 takes less than 64 KB, so longer texts are cut into pieces, as Keras does


@dataclass(frozen=True)
class Facts:
    """The facts in a file; None for those that it does not say.

    Attributes:
        padding: Padding of convolutions with a stride, as in ``Variant``.
        epsilon: Epsilon of the batch norms.
        preprocessing: Mode, or numbers, of the scaling of pixels.
        crop: Part of an image's shorter side that is kept, 0..1.
        interpolation: Interpolation of the resizing after that.
        class_names: Names of the classes in the order of the outputs.
        activation: Keras' name of the classifier's activation; ``"linear"`` for logits.
        model: Name of the network in timm: ``"tf_efficientnet_b0.ns_jft_in1k"``.
        targets: Kind of what the network was trained to predict, as ``datasets.targets`` has them: ``"labels"``.
        thresholds: Least probability of each label that applies.
        class_counts: Numbers of classes in files beside the weights, by place: ``"config.json: num_classes"``. They are
            never written, since the weights themselves show theirs.
        hidden_activation: Keras' name of the activation within the network.
        strides: Stride of each stage.
        residuals: Blocks that add their input to their output: ``"block2b"``.
        pooling: Pooling before the classifier, ``"avg"``. It is never written: no other classifier is.
        size: Side of the square images that the network takes, pixels.
    """

    padding: str | None = None
    epsilon: float | None = None
    preprocessing: str | Scaling | None = None
    crop: float | None = None
    interpolation: str | None = None
    class_names: tuple[str, ...] | None = None
    activation: str | None = None
    model: str | None = None
    targets: str | None = None
    thresholds: tuple[float, ...] | None = None
    class_counts: tuple[tuple[str, int], ...] | None = None
    hidden_activation: str | None = None
    strides: tuple[int, ...] | None = None
    residuals: tuple[str, ...] | None = None
    pooling: str | None = None
    size: int | None = None

    def __or__(self, other: Facts) -> Facts:
        """Return these facts, completed by the others."""
        mine = {name: value for name, value in vars(self).items() if value is not None}
        return dataclasses.replace(other, **mine)

    def to_json(self) -> str:
        """Return the known facts as text for :func:`from_json`."""
        known = {name: getattr(self, name) for name in _CHECKS if getattr(self, name) is not None}
        return json.dumps(known, ensure_ascii=False)


UNKNOWN = Facts()


def of_variant(variant: Variant) -> Facts:
    """Return what decides what a variant computes, and what no array of its weights shows."""
    return Facts(
        hidden_activation=common_name(variant.activation),
        strides=tuple(stage.strides for stage in variant.blocks),
        residuals=tuple(block.name for block in scale_blocks(variant) if block.residual),
    )


def contradictions(said: Facts, variant: Variant) -> list[str]:
    """Return what a network computes, as its file says, and a variant does otherwise with the same arrays."""
    ours = of_variant(variant)
    found = []
    if said.hidden_activation not in (None, ours.hidden_activation):
        found.append(f"its activation is {said.hidden_activation!r}, and the network's {ours.hidden_activation!r}")
    if said.strides is not None and said.strides != ours.strides:
        found.append(f"its stages have the strides {said.strides}, and the network's {ours.strides}")
    if said.residuals is not None and (blocks := set(said.residuals) ^ set(ours.residuals or ())):
        found.append(f"{min(blocks)} adds its input to its output in one of the file and the network only")
    return found


def common_name(activation: str) -> str:
    """Return the name that this package has for an activation."""
    return {"silu": "swish"}.get(activation, activation)


def from_json(text: str | bytes) -> Facts:
    """Read the facts in a text of JSON; unknown names are left out.

    Raises:
        ValueError: The text is not such JSON, or a value is out of its range.
    """
    values = parse_object(text)
    return Facts(**{name: _CHECKS[name](value) for name, value in values.items() if name in _CHECKS})


def parse(text: str | bytes) -> Any:
    """Parse a text of JSON.

    Raises:
        ValueError: The text is damaged, or larger than any that a file of weights needs.
    """
    if len(text) > LARGEST_JSON:
        raise ValueError(f"its JSON of {len(text)} bytes is larger than any file of weights needs")
    return json_files.parse(text, "a text in it")


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse an object in a text of JSON.

    Raises:
        ValueError: The text is not an object, damaged, or larger than any that a file of weights needs.
    """
    values = parse(text)
    if not isinstance(values, dict):
        raise ValueError("its JSON is not an object")
    return values


def from_hdf5(root: Object) -> Facts:
    """Read the facts that :func:`write_hdf5` put into an HDF5 file; empty facts if there are none."""
    pieces: list[str] = []
    while piece := root.texts(f"{KEY}{len(pieces)}"):
        pieces += piece
    return from_json("".join(pieces)) if pieces else Facts()


def write_hdf5(path: str | PathLike[str], facts: Facts) -> None:
    """Add facts to an HDF5 file, as attributes that Keras ignores."""
    import h5py

    text = json.dumps(json.loads(facts.to_json()))  # in ASCII, so that it can be cut anywhere
    with h5py.File(path, "r+") as file:
        for number, start in enumerate(range(0, len(text), _LONGEST_ATTRIBUTE)):
            file.attrs[f"{KEY}{number}"] = np.bytes_(text[start : start + _LONGEST_ATTRIBUTE])


def write_archive(path: str | PathLike[str], facts: Facts) -> None:
    """Add facts to the archive that ``torch.save`` wrote, as a member that PyTorch ignores."""
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{folder}/{MEMBER}", facts.to_json())


def of_scale_and_offset(scale: Any, offset: Any) -> str | Scaling:
    """Return the mode or numbers of ``pixels * scale + offset``, each a number or one for each channel.

    Raises:
        ValueError, TypeError: The arguments are not such numbers.
    """
    factor, summand = np.broadcast_arrays(*(np.ravel(np.asarray(value, np.float64)) for value in (scale, offset)))
    if len(factor) == 1:
        factor, summand = factor.repeat(3), summand.repeat(3)
    if not np.isfinite([factor, summand]).all():
        raise ValueError("it scales pixels by numbers that are not finite")
    return simplest(Scaling(tuple(factor.tolist()), tuple(summand.tolist())))


def of_mean_and_std(mean: Sequence[float], std: Sequence[float]) -> str | Scaling:
    """Return the mode or numbers of ``(pixels / 255 - mean) / std``."""
    return simplest(Scaling(tuple(1 / (255 * s) for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True))))


def simplest(scaling: Scaling) -> str | Scaling:
    """Return the mode of these numbers if there is one, else the numbers."""
    for mode in MODES:
        known = scale_and_offset(mode)
        if len(scaling.scale) == len(known.scale) and np.allclose(scaling, known, rtol=1e-5, atol=1e-6):
            return mode
    return scaling


def _padding(value: Any) -> str:
    if value not in PADDINGS:
        raise ValueError(f"it says padding {str(value)[:80]!r}; known are {', '.join(PADDINGS)}")
    return str(value)


def positive_fraction(value: Any) -> float:
    """Check a number that is more than 0 and at most 1.

    Raises:
        ValueError: The value is not one.
    """
    if type(value) not in (int, float) or not 0 < value <= 1:
        raise ValueError(f"it says {str(value)[:80]!r} where a fraction, more than 0 and at most 1, is due")
    return float(value)


def size(value: Any) -> int:
    """Check a side of images that a network takes, pixels.

    Raises:
        ValueError: The value is not one.
    """
    side = square(value, value)
    if side is None:
        raise ValueError(f"it says {str(value)[:80]!r} where a side in pixels, {MIN_RESOLUTION} or more, is due")
    return side


def square(height: Any, width: Any) -> int | None:
    """Return the side of images that are square, and large enough for a new network; None for all others."""
    is_size = type(height) is int and height == width and MIN_RESOLUTION <= height <= _LARGEST_SIZE
    return height if is_size else None


def count_of_classes(value: Any) -> int:
    """Check a number of classes, 0 or more.

    Raises:
        ValueError: The value is not one.
    """
    if type(value) is not int or not 0 <= value <= MOST_CLASSES:
        raise ValueError(f"it says {str(value)[:80]!r} where a number of classes, 0 to {MOST_CLASSES:,}, is due")
    return value


def short_text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise ValueError(f"it says {str(value)[:80]!r} where a short text is due")
    return value


def preprocessing(value: Any) -> str | Scaling:
    """Check a mode, or numbers for each channel, from JSON.

    Raises:
        ValueError: The value is neither.
    """
    if isinstance(value, str) and value in MODES:
        return value
    match value:
        case [list() as scale, list() as offset] if 0 < len(scale) == len(offset) <= 1000 and all(
            type(number) in (int, float) and math.isfinite(number) for number in (*scale, *offset)
        ):
            return simplest(Scaling(tuple(map(float, scale)), tuple(map(float, offset))))
    raise ValueError(f"it says preprocessing {str(value)[:80]!r}; known are {', '.join(MODES)}, or scale and offset")


def strides(value: Any) -> tuple[int, ...]:
    """Check the strides of a network's stages, from JSON.

    Raises:
        ValueError: The value is not a list of them.
    """
    if not isinstance(value, list | tuple) or not all(type(stride) is int and stride > 0 for stride in value):
        raise ValueError(f"it says strides {str(value)[:80]} where a list of whole numbers is due")
    return tuple(value)


def class_names(value: Any) -> tuple[str, ...]:
    """Check a list of names from JSON.

    Raises:
        ValueError: The value is not one.
    """
    if not isinstance(value, list) or len(value) > MOST_CLASSES:
        raise ValueError(f"its class names are not a list of at most {MOST_CLASSES:,} names")
    if not all(isinstance(name, str | int | float) for name in value):
        raise ValueError("its class names are not a list of names")
    return tuple(map(str, value))


def thresholds(value: Any) -> tuple[float, ...]:
    """Check a list of probabilities from JSON.

    Raises:
        ValueError: The value is not one.
    """
    if not isinstance(value, list) or len(value) > MOST_CLASSES:
        raise ValueError(f"its thresholds are not a list of at most {MOST_CLASSES:,} probabilities")
    if not all(type(number) in (int, float) and 0 <= number <= 1 for number in value):
        raise ValueError("its thresholds are not probabilities")
    return tuple(map(float, value))


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "padding": _padding,
    "epsilon": positive_fraction,
    "preprocessing": preprocessing,
    "crop": positive_fraction,
    "interpolation": short_text,
    "size": size,
    "class_names": class_names,
    "activation": short_text,
    "model": short_text,
    "targets": short_text,
    "thresholds": thresholds,
    "hidden_activation": short_text,
    "strides": strides,
    "residuals": class_names,
}
