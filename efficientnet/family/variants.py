"""Variants: every published EfficientNet as one row of data, and files of custom ones.

Nothing here imports a framework. A new variant is one new row in ``_TABLE``; a new family is its block
table and the few fields in which it differs from the defaults of :class:`Variant`.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import os
import re
from pathlib import Path
from typing import Any

from ..common import arguments
from ..common.json_files import read_object, write_json
from ..common.text import plain
from .description import PADDINGS, BlockArgs, Variant
from .pruned import pruned

__all__ = [
    "EDGETPU_BLOCKS", "LITE_BLOCKS", "PADDINGS", "V1_BLOCKS", "BlockArgs", "Variant", "get_variant", "list_variants",
    "save_variant",
]  # fmt: skip

# Version of the files that save_variant writes.
_FORMAT = 1

# arXiv 1905.11946, table 1, rows 2 to 8.
V1_BLOCKS = (
    BlockArgs(3, 1, 32, 16, expand_ratio=1, strides=1, se_ratio=0.25),
    BlockArgs(3, 2, 16, 24, expand_ratio=6, strides=2, se_ratio=0.25),
    BlockArgs(5, 2, 24, 40, expand_ratio=6, strides=2, se_ratio=0.25),
    BlockArgs(3, 3, 40, 80, expand_ratio=6, strides=2, se_ratio=0.25),
    BlockArgs(5, 3, 80, 112, expand_ratio=6, strides=1, se_ratio=0.25),
    BlockArgs(5, 4, 112, 192, expand_ratio=6, strides=2, se_ratio=0.25),
    BlockArgs(3, 1, 192, 320, expand_ratio=6, strides=1, se_ratio=0.25),
)

# V1's stages without squeeze-and-excite; the first and the last keep their single block at every depth.
LITE_BLOCKS = tuple(
    dataclasses.replace(block, se_ratio=None, scale_repeats=index not in (0, len(V1_BLOCKS) - 1))
    for index, block in enumerate(V1_BLOCKS)
)


# The authors' release of 2019. The first stage has the stem's 32 input channels, but widens as if they were 24.
EDGETPU_BLOCKS = (
    BlockArgs(3, 1, 24, 24, expand_ratio=4, strides=1, fused=True, id_skip=False),
    BlockArgs(3, 2, 24, 32, expand_ratio=8, strides=2, fused=True),
    BlockArgs(3, 4, 32, 48, expand_ratio=8, strides=2, fused=True),
    BlockArgs(5, 5, 48, 96, expand_ratio=8, strides=2),
    BlockArgs(5, 4, 96, 144, expand_ratio=8, strides=1),
    BlockArgs(5, 2, 144, 192, expand_ratio=8, strides=2),
)

# arXiv 2104.00298, table 4, and the authors' release of 2021: repeats, filters in, filters out and expansion of each
# stage. All kernels are 3 x 3; the first three stages are fused, the others squeeze and excite.
_V2_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_V2_STAGES = {
    "base": ((1, 32, 16, 1), (2, 16, 32, 4), (2, 32, 48, 4), (3, 48, 96, 4), (5, 96, 112, 6), (8, 112, 192, 6)),
    "s": ((2, 24, 24, 1), (4, 24, 48, 4), (4, 48, 64, 4), (6, 64, 128, 4), (9, 128, 160, 6), (15, 160, 256, 6)),
    "m": (
        (3, 24, 24, 1), (5, 24, 48, 4), (5, 48, 80, 4), (7, 80, 160, 4), (14, 160, 176, 6), (18, 176, 304, 6),
        (5, 304, 512, 6),
    ),
    "l": (
        (4, 32, 32, 1), (7, 32, 64, 4), (7, 64, 96, 4), (10, 96, 192, 4), (19, 192, 224, 6), (25, 224, 384, 6),
        (7, 384, 640, 6),
    ),
    "xl": (
        (4, 32, 32, 1), (8, 32, 64, 4), (8, 64, 96, 4), (16, 96, 192, 4), (24, 192, 256, 6), (32, 256, 512, 6),
        (8, 512, 640, 6),
    ),
    # timm's networks of 2021, drawn from the paper before the authors' release.
    "rw-s": ((2, 24, 24, 1), (4, 24, 48, 4), (4, 48, 64, 4), (6, 64, 128, 4), (9, 128, 160, 6), (15, 160, 272, 6)),
    "rw-m": ((3, 24, 24, 1), (5, 24, 48, 4), (5, 48, 64, 4), (8, 64, 128, 4), (15, 128, 160, 6), (24, 160, 272, 6)),
    # timm's for its own tests.
    "test": ((1, 24, 16, 1), (1, 16, 24, 4), (1, 24, 32, 4), (1, 32, 48, 4), (1, 48, 64, 4)),
}  # fmt: skip
_TIMM = {"padding": "symmetric", "batch_norm_epsilon": 1e-5, "paper": "timm, the networks that it trained itself"}


def _v2_blocks(stages: tuple[tuple[int, int, int, int], ...]) -> tuple[BlockArgs, ...]:
    return tuple(
        BlockArgs(
            3, repeats, filters_in, filters_out, expand_ratio=expansion, strides=_V2_STRIDES[index],
            se_ratio=None if index < 3 else 0.25, fused=index < 3,
        )
        for index, (repeats, filters_in, filters_out, expansion) in enumerate(stages)
    )  # fmt: skip


def _v1(name: str, width: float, depth: float, resolution: int, dropout_rate: float, **changes: str) -> Variant:
    return Variant(f"efficientnet-{name}", width, depth, resolution, dropout_rate, V1_BLOCKS, **changes)  # type: ignore[arg-type]


def _lite(name: str, width: float, depth: float, resolution: int, dropout_rate: float) -> Variant:
    return Variant(
        f"efficientnet-{name}", width, depth, resolution, dropout_rate, LITE_BLOCKS,
        activation="relu6", scale_stem_and_head=False, preprocessing="lite",
        paper="EfficientNet-Lite, the authors' release of 2020",
    )  # fmt: skip


def _edgetpu(size: str, width: float, depth: float, resolution: int, dropout_rate: float) -> Variant:
    return Variant(
        f"efficientnet-edgetpu-{size}", width, depth, resolution, dropout_rate, EDGETPU_BLOCKS,
        activation="relu", preprocessing="lite", paper="EfficientNet-EdgeTPU, the authors' release of 2019",
    )  # fmt: skip


def _condconv(name: str, depth: float, experts: int) -> Variant:
    """Return V1's blocks with mixed kernels in the last three stages (arXiv 1904.04971, section 4)."""
    first, last = V1_BLOCKS[:-3], V1_BLOCKS[-3:]
    return Variant(
        f"efficientnet-condconv-{name}", 1.0, depth, 224, 0.25,
        (*first, *(dataclasses.replace(block, experts=experts) for block in last)),
        preprocessing="lite", paper="arXiv 1904.04971",
    )  # fmt: skip


def _v2(name: str, blocks: str, width: float, depth: float, resolution: int, dropout_rate: float) -> Variant:
    stages = _v2_blocks(_V2_STAGES[blocks])
    return Variant(
        f"efficientnetv2-{name}", width, depth, resolution, dropout_rate, stages,
        stem_filters=stages[0].input_filters, limit_rounding_loss=False, batch_norm_momentum=0.9,
        preprocessing="v2", paper="arXiv 2104.00298",
    )  # fmt: skip


def _rw(size: str, blocks: str, width: float, depth: float, resolution: int, dropout_rate: float) -> Variant:
    """Return V2 as timm built it: T scales the authors' S; S and M expand in the first stage, too, and end wider."""
    v2 = _v2(f"rw-{size}", blocks, width, depth, resolution, dropout_rate)
    changes: dict[str, Any] = {"limit_rounding_loss": True, "preprocessing": "torch", **_TIMM}
    if blocks.startswith("rw-"):
        changes |= {
            "head_filters": 1792,
            "blocks": (dataclasses.replace(v2.blocks[0], always_expand=True), *v2.blocks[1:]),
        }
    return dataclasses.replace(v2, **changes)


def _test() -> Variant:
    """Return timm's smallest network, a V2 whose last stage has a stride."""
    small = _v2("test", "test", 1.0, 1.0, 160, 0.2)
    blocks = (*small.blocks[:-1], dataclasses.replace(small.blocks[-1], strides=2))
    changes: dict[str, Any] = {"head_filters": 256, "preprocessing": "torch", **_TIMM}
    return dataclasses.replace(small, name="efficientnet-test", blocks=blocks, **changes)


_TABLE = (
    #    name     width depth resolution dropout
    _v1("b0",     1.0,  1.0,  224,  0.2),
    _v1("b1",     1.0,  1.1,  240,  0.2),
    _v1("b2",     1.1,  1.2,  260,  0.3),
    _v1("b3",     1.2,  1.4,  300,  0.3),
    _v1("b4",     1.4,  1.8,  380,  0.4),
    _v1("b5",     1.6,  2.2,  456,  0.4),
    _v1("b6",     1.8,  2.6,  528,  0.5),
    _v1("b7",     2.0,  3.1,  600,  0.5),
    _v1("b8",     2.2,  3.6,  672,  0.5, paper="arXiv 1911.09665"),
    _v1("l2",     4.3,  5.3,  800,  0.5, paper="arXiv 1911.04252"),
    _lite("lite0", 1.0, 1.0,  224,  0.2),
    _lite("lite1", 1.0, 1.1,  240,  0.2),
    _lite("lite2", 1.1, 1.2,  260,  0.3),
    _lite("lite3", 1.2, 1.4,  280,  0.3),
    _lite("lite4", 1.4, 1.8,  300,  0.3),
    _edgetpu("s",  1.0, 1.0,  224,  0.2),
    _edgetpu("m",  1.0, 1.1,  240,  0.2),
    _edgetpu("l",  1.2, 1.4,  300,  0.3),
    #          name       depth experts
    _condconv("b0-4e",       1.0, 4),
    _condconv("b0-8e",       1.0, 8),
    _condconv("b0-8e-depth", 1.1, 8),
    #   name blocks   width depth resolution dropout
    _v2("b0", "base", 1.0,  1.0,  224,  0.2),
    _v2("b1", "base", 1.0,  1.1,  240,  0.2),
    _v2("b2", "base", 1.1,  1.2,  260,  0.3),
    _v2("b3", "base", 1.2,  1.4,  300,  0.3),
    _v2("s",  "s",    1.0,  1.0,  384,  0.2),
    _v2("m",  "m",    1.0,  1.0,  480,  0.3),
    _v2("l",  "l",    1.0,  1.0,  480,  0.4),
    _v2("xl", "xl",   1.0,  1.0,  512,  0.4),
    _rw("t",  "s",    0.8,  0.9,  288,  0.2),
    _rw("s",  "rw-s", 1.0,  1.0,  384,  0.2),
    _rw("m",  "rw-m", 1.2,  1.0,  416,  0.2),
    _test(),
    *pruned(V1_BLOCKS),
)  # fmt: skip


# Further names: the constructors', which cannot begin with a digit after "B0", and another that goes around.
_ALIASES = {
    "condconvb0x4": "condconvb04e",
    "condconvb0x8": "condconvb08e",
    "condconvb0x8depth": "condconvb08edepth",
    "condconvb18e": "condconvb08edepth",
}


def _short(name: str) -> str:
    """Return ``"b0"`` for ``"EfficientNetB0"``, ``"efficientnet-b0"``, ``"efficientnet_b0"`` and ``"b0"``."""
    short = re.sub(r"[-_ ]", "", name.lower()).removeprefix("efficientnet")
    return _ALIASES.get(short, short)


def list_variants(pattern: str | None = None) -> tuple[str, ...]:
    """List the names of the variants, smallest first within a family.

    Args:
        pattern: Shell-style wildcard for the full or the short name, without regard to case: ``"*lite*"``, ``"b?"``.
            None lists all.

    Returns:
        The matching names, for example ``("efficientnet-b0", "efficientnet-b1", …)``; empty if none matches.

    Raises:
        TypeError: The pattern is not text.

    Example:
        >>> list_variants("edgetpu*")
        ('efficientnet-edgetpu-s', 'efficientnet-edgetpu-m', 'efficientnet-edgetpu-l')
    """
    if pattern is None:
        return tuple(variant.name for variant in _TABLE)
    wanted = arguments.instance("pattern", pattern, str, "a name with wildcards, such as 'lite*', or None").lower()
    return tuple(
        variant.name
        for variant in _TABLE
        if fnmatch.fnmatchcase(variant.name, wanted) or fnmatch.fnmatchcase(_short(variant.name), wanted)
    )


def get_variant(name: str | os.PathLike[str] | Variant) -> Variant:
    """Return a variant by its name.

    Args:
        name: Full name (``"efficientnet-b0"``), short name (``"b0"``) or constructor (``"EfficientNetB0"``); the path
            of a ``.json`` file that :func:`save_variant` or a design wrote; or a variant, which is returned unchanged.

    Raises:
        ValueError: There is no such variant, and the message suggests the closest names; or the file holds none.
        OSError: The file cannot be read.

    Example:
        >>> get_variant("b4").resolution
        380
    """
    if isinstance(name, Variant):
        return name
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(
            f"variant={name!r}: expected the name of a variant, such as 'b0', the path of a .json file, or a Variant."
        )
    text = os.fsdecode(name)
    if text.lower().endswith(".json"):
        return _load_variant(Path(text))
    by_short_name = {_short(variant.name): variant for variant in _TABLE}
    wanted = _short(text)
    if wanted in by_short_name:
        return by_short_name[wanted]
    close = difflib.get_close_matches(wanted, by_short_name, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(by_short_name[key].name for key in close)}? " if close else ""
    if os.path.isfile(text):
        hint = "It is a file: weights go with a variant (weights=, in a command --weights). "
    raise ValueError(f"Unknown variant {text!r}. {hint}There are: {', '.join(list_variants())}.")


def save_variant(variant: Variant, path: str | os.PathLike[str]) -> None:
    """Write a variant as a JSON file, whose path can replace a name: ``get_variant("mine.json")``.

    Args:
        variant: Variant, published or custom.
        path: Path of the file, ending in ``.json``; an existing file is replaced as a whole.

    Raises:
        ValueError: The path has another suffix.

    Example:
        >>> from dataclasses import replace
        >>> save_variant(replace(get_variant("b0"), name="mine", resolution=128), "mine.json")
        >>> get_variant("mine.json").resolution
        128
    """
    path = check_variant_file(Path(path))
    content = {"format": _FORMAT, "variant": dataclasses.asdict(variant)}
    write_json(path, content)


def check_variant_file(path: Path) -> Path:
    """Return the path of a variant's file unchanged.

    Raises:
        ValueError: It has another suffix.
    """
    if path.suffix.lower() != ".json":
        raise ValueError(f"{path}: a variant is saved as JSON; give a name that ends in .json.")
    return path


def _load_variant(path: Path) -> Variant:
    try:
        content = read_object(path)
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}, and this release reads {_FORMAT}")
        fields = content["variant"]
        variant = Variant(**{**fields, "blocks": tuple(BlockArgs(**block) for block in fields["blocks"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{plain(path)} holds no variant ({error}): give a file that save_variant or `efficientnet design` has "
            "written."
        ) from None
    if any(variant.name == row.name and variant != row for row in _TABLE):
        raise ValueError(f"{path} calls its network {variant.name}, which is another one: give it another name.")
    return variant
