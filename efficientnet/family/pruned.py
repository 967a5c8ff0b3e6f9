"""Pruned networks: V1's blocks with as many filters as were left of each (arXiv 2002.08258).

These are in timm. Within a stage all blocks have the same output; what a block has inside is its own.
"""

from __future__ import annotations

import dataclasses

from .description import BlockArgs, Variant

# For each stage: output filters, the filters within each block, and those of its squeeze-and-excite.
Stages = tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]

_B1: Stages = (
    (16, (32, 16), (8, 4)),
    (12, (48, 62, 48), (4, 6, 6)),
    (35, (70, 61, 51), (6, 10, 10)),
    (74, (175, 188, 137, 164), (10, 20, 20, 20)),
    (67, (399, 201, 160, 213), (20, 28, 28, 28)),
    (192, (637, 806, 798, 891, 990), (27, 48, 48, 48, 48)),
    (320, (1152, 1912), (48, 80)),
)  # fmt: skip
_B2: Stages = (
    (16, (32, 16), (8, 4)),
    (17, (54, 69, 61), (4, 6, 6)),
    (42, (86, 72, 98), (6, 12, 12)),
    (85, (245, 274, 254, 292), (12, 22, 22, 22)),
    (116, (502, 315, 354, 443), (22, 30, 30, 30)),
    (208, (719, 1148, 1160, 1182, 1228), (30, 52, 52, 52, 52)),
    (352, (1248, 2112), (52, 88)),
)  # fmt: skip
_B3: Stages = (
    (24, (40, 24), (10, 6)),
    (12, (27, 49, 48), (6, 8, 8)),
    (40, (83, 90, 85), (8, 12, 12)),
    (93, (215, 261, 219, 254, 236), (12, 24, 24, 24, 24)),
    (120, (480, 235, 217, 226, 340), (24, 34, 34, 33, 34)),
    (232, (802, 1030, 924, 1016, 1130, 1266), (34, 58, 58, 58, 58, 58)),
    (384, (1392, 2301), (58, 96)),
)  # fmt: skip

# Name, stem and head filters, resolution, dropout and stages.
_TABLE = (
    ("b1", 32, 1280, 240, 0.2, _B1),
    ("b2", 32, 1408, 260, 0.3, _B2),
    ("b3", 40, 1536, 300, 0.3, _B3),
)


def pruned(blocks: tuple[BlockArgs, ...]) -> tuple[Variant, ...]:
    """Return the pruned networks.

    Args:
        blocks: Stages of V1, which they were before.
    """
    return tuple(
        Variant(
            f"efficientnet-{name}-pruned", 1.0, 1.0, resolution, dropout_rate, _stages(blocks, stem, stages),
            stem_filters=stem, head_filters=head, depth_divisor=1, preprocessing="tf", paper="arXiv 2002.08258",
        )
        for name, stem, head, resolution, dropout_rate, stages in _TABLE
    )  # fmt: skip


def _stages(blocks: tuple[BlockArgs, ...], stem: int, stages: Stages) -> tuple[BlockArgs, ...]:
    inputs = (stem, *(output for output, _, _ in stages))
    return tuple(
        dataclasses.replace(
            block, num_repeat=len(inner), input_filters=before, output_filters=output,
            expanded_filters=inner if block.expand_ratio > 1 else (), se_filters=squeezed,
        )
        for block, before, (output, inner, squeezed) in zip(blocks, inputs, stages, strict=False)
    )  # fmt: skip
