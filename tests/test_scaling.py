"""Rounding, scaling and counting, against the published numbers and without any framework."""

import csv
import dataclasses

import pytest

from efficientnet import get_variant, list_variants
from efficientnet.scaling import cost, head_filters, round_filters, round_repeats, scale_blocks, stem_filters


@pytest.mark.parametrize(
    ("filters", "width", "expected"),
    [(32, 1.0, 32), (32, 1.1, 32), (32, 1.2, 40), (24, 1.4, 32), (320, 1.8, 576), (1280, 2.0, 2560), (16, 0.25, 8)],
)
def test_round_filters(filters, width, expected):
    assert round_filters(filters, width) == expected


def test_rounding_down_loses_at_most_a_tenth_where_the_family_says_so():
    assert round_filters(11, 1.0) == 16
    assert round_filters(11, 1.0, limit_loss=False) == 8


def test_round_repeats_rounds_up():
    assert [round_repeats(repeats, 1.1) for repeats in (1, 2, 3, 4)] == [2, 3, 4, 5]


def test_b0_is_the_baseline_of_table_1():
    blocks = scale_blocks(get_variant("b0"))
    assert len(blocks) == 16
    first, second = blocks[0], blocks[1]
    assert (first.name, first.expanded_filters, first.se_filters, first.residual) == ("block1a", 32, 8, False)
    assert (second.name, second.strides, second.expanded_filters, second.se_filters) == ("block2a", 2, 96, 4)
    assert blocks[2].residual
    assert blocks[-1].output_filters == 320
    assert [block.drop_connect_fraction for block in blocks] == [i / 16 for i in range(16)]


def test_lite_scales_neither_stem_nor_head_nor_its_outer_stages():
    lite4 = get_variant("lite4")
    names = [block.name for block in scale_blocks(lite4)]
    assert (stem_filters(lite4), head_filters(lite4)) == (32, 1280)
    assert [name for name in names if name[5] in "17"] == ["block1a", "block7a"]
    assert not any(block.se_filters for block in scale_blocks(lite4))


def test_more_than_26_repeats_still_have_distinct_names():
    deep = dataclasses.replace(get_variant("b0"), depth=20.0)
    names = [block.name for block in scale_blocks(deep)]
    assert len(set(names)) == len(names)
    assert {"block2z", "block2aa", "block2an"} <= set(names)


def test_stages_that_do_not_fit_together_are_refused():
    b0 = get_variant("b0")
    broken = dataclasses.replace(b0, blocks=(*b0.blocks[:2], *b0.blocks[3:]))
    with pytest.raises(ValueError, match="stage 2 gives 24 filters but stage 3 takes 40"):
        scale_blocks(broken)


def test_parameters_and_multiply_adds_are_the_published_ones(shared):
    lines = [line for line in (shared / "facts/costs.tsv").open() if not line.startswith("#")]
    published = {row["variant"]: row for row in csv.DictReader(lines, delimiter="\t")}
    for name in list_variants():
        row = published[name]
        variant = get_variant(name)
        assert variant.resolution == int(row["eval_size"])
        assert dataclasses.astuple(cost(variant)) == (int(row["params"]), int(row["macs"])), name
