"""What a package needs to know of a network, and what it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from ...checkpoints.arrays import Stored
from ...checkpoints.names.base import Origin
from ...family.variants import Variant
from ...images.pixel_scaling import Scaling


@dataclass(frozen=True)
class Network:
    """A network with its weights' settings, as a package is to build it.

    Attributes:
        variant: Variant, with the padding, the epsilon and the resolution that the weights were trained with.
        classes: Number of classes; None for a network without a classifier.
        channels: Number of channels of the images.
        scaling: Scaling of pixels 0..255, a number for each channel.
        crop: Part of an image's shorter side that is kept, 0..1.
        interpolation: Interpolation of the resizing after that: ``"bilinear"`` or ``"bicubic"``.
        class_names: Names of the classes in the order of the outputs; None if they are not known.
        activation: Keras' name of the classifier's activation.
    """

    variant: Variant
    classes: int | None
    channels: int
    scaling: Scaling
    crop: float
    interpolation: str
    class_names: tuple[str, ...] | None
    activation: str

    @property
    def mean(self) -> list[float]:
        """Mean of each channel, of levels 0..1."""
        return [round(-offset / scale / 255, 10) + 0.0 for scale, offset in zip(*self.scaling, strict=True)]

    @property
    def std(self) -> list[float]:
        """Standard deviation of each channel, of levels 0..1."""
        return [round(1 / scale / 255, 12) for scale in self.scaling.scale]


class SeparateClassifier(NamedTuple):
    """A classifier in a separate file.

    Attributes:
        file: Name of the file.
        prefix: Prefix of the names of its arrays.
        beside: Further numbers in it, by name, without which the package warns.
    """

    file: str
    prefix: str
    beside: dict[str, Stored]


@dataclass(frozen=True)
class Package:
    """A package that networks are written for.

    Attributes:
        name: Name for ``convert_weights``.
        title: Name in texts.
        weights: Name of the file of weights.
        origin: Its names of the arrays of a network. It raises ValueError for a network that the package lacks; the
            message says what to do instead.
        configure: Its files of configuration, by name: objects of JSON.
        usage: Program in Python that opens a folder, ``{folder}``.
        library: Its name for ``library_name`` in a model card.
        body: Prefix of the names of all arrays but the classifier's, in a network with a classifier.
        separate_classifier: Its file of the classifier, if that is another than ``weights``.
    """

    name: str
    title: str
    weights: str
    origin: Callable[[Network], Origin]
    configure: Callable[[Network], dict[str, Any]]
    usage: Callable[[Network], str]
    library: str
    body: str = ""
    separate_classifier: SeparateClassifier | None = None


# What to do where a package has no such network.
ANY_FILE = "Give a file (.keras, .safetensors) without a package (no to=, no --to), which holds every network."


def refuse(package: str, network: Network, problem: str, instead: str = "") -> NoReturn:
    """Raise the error about a network that a package does not have."""
    advice = f"{instead} Or: {ANY_FILE[:1].lower()}{ANY_FILE[1:]}" if instead else ANY_FILE
    raise ValueError(f"{package} has no network for these weights of {network.variant.name}: {problem}. {advice}")
