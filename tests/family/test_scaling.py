"""Rounding, scaling and counting, against the published numbers and without any framework."""

import csv
import dataclasses
import itertools
import math

import numpy as np
import pytest

from efficientnet import get_variant, list_variants
from efficientnet.family.compound import (
    PAPER_COEFFICIENTS,
    Coefficients,
    Tiny,
    candidates,
    cost_factor,
    efficiency,
    fast,
)
from efficientnet.family.costs import cost
from efficientnet.family.scaling import (
    Factors,
    head_filters,
    round_filters,
    round_repeats,
    scale,
    scale_blocks,
    stem_filters,
)
from efficientnet.weights.published import list_weights


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


def test_parameters_and_multiply_adds_are_the_published_ones(facts):
    lines = [line for line in (facts / "costs.tsv").read_text().splitlines() if not line.startswith("#")]
    published = {row["variant"]: row for row in csv.DictReader(lines, delimiter="\t")}
    for name in list_variants()[:29]:
        # That of 8 experts and B1's depth goes by two names, and is counted at B1's input size.
        row = published[name.replace("b0-8e-depth", "b1-8e")]
        variant = get_variant(name)
        assert variant.resolution == int(row["eval_size"]) or name.endswith("depth")
        counted = cost(variant, int(row["eval_size"]))
        assert (counted.parameters, counted.macs) == (int(row["params"]), int(row["macs"])), name


def test_parameters_of_timms_own_networks_are_those_that_it_counts(facts):
    lines = [line for line in (facts / "timm_results.tsv").read_text().splitlines() if not line.startswith("#")]
    counts = {row["model"]: row["param_count"] for row in csv.DictReader(lines, delimiter="\t")}
    for name in list_variants()[29:]:
        row = list_weights(name)[0]
        assert f"{cost(name).parameters / 1e6:.2f}" == counts[row.model], name
    # As KerasHub counts them.
    whole = [cost(f"efficientnetv2-rw-{size}").parameters for size in "tsm"]
    assert whole == [13_649_388, 23_941_296, 53_236_442]


def test_the_grid_of_step_1_holds_the_papers_coefficients():
    grid = candidates(2.0)
    assert PAPER_COEFFICIENTS in grid
    assert cost_factor(PAPER_COEFFICIENTS) == pytest.approx(1.2 * 1.1**2 * 1.15**2)
    assert all(1.9 <= c.alpha * c.beta**2 * c.gamma**2 <= 2.1 for c in grid)
    assert Coefficients(2.0, 1.0, 1.0) in grid
    assert Coefficients(1.0, 1.4, 1.0) in grid
    assert Coefficients(1.5, 1.1, 1.15) not in grid
    assert len(set(grid)) == len(grid)


@pytest.mark.slow
def test_a_finer_grid_holds_more_and_a_narrow_one_less():
    assert len(candidates(steps=0.02)) > len(candidates()) > len(candidates(tolerance=0.01))
    assert candidates(target=1.5, tolerance=0.0, steps=0.4) == ()


def test_factors_of_compound_scaling():
    factors = Coefficients(1.2, 1.1, 1.15).factors(2.0)
    assert factors == pytest.approx((1.1**2, 1.2**2, 1.15**2))  # width, depth, resolution
    assert Coefficients(1.2, 1.1, 1.15).factors(0.0) == (1.0, 1.0, 1.0)
    assert cost_factor(Coefficients(2.0, 1.0, 1.0), 3.0) == pytest.approx(8.0)


def test_factors_below_1_shrink():
    factors = Coefficients(1.2, 1.1, 1.15).factors(-2.0)
    assert factors == pytest.approx((1.1**-2, 1.2**-2, 1.15**-2))
    assert cost_factor(PAPER_COEFFICIENTS, -1.0) == pytest.approx(1 / cost_factor(PAPER_COEFFICIENTS))
    shrunk = scale("b0", factors)
    assert (shrunk.resolution, cost(shrunk).macs) < (224, cost("b0").macs)
    assert scale("b0", PAPER_COEFFICIENTS.factors(-20)).resolution == 32


# arXiv 2010.14819, table 2: width, depth, resolution, millions of multiply-adds; timm's counts of parameters, millions.
TINYNETS = {
    "A": (1.0, 1.2, 192, 339, 6.19),
    "B": (0.75, 1.1, 188, 202, 3.73),
    "C": (0.54, 0.85, 184, 100, 2.46),
    "D": (0.54, 0.695, 152, 52, 2.34),
    "E": (0.51, 0.6, 106, 24, 2.04),
}


@pytest.mark.parametrize("name", TINYNETS)
def test_tinynets_cost_what_was_published(name):
    width, depth, resolution, macs, parameters = TINYNETS[name]
    b0 = Tiny().prepare(get_variant("b0"))
    assert cost(b0) == cost("b0")
    counted = cost(dataclasses.replace(b0, name=name, width=width, depth=depth, resolution=resolution))
    assert counted.macs / 1e6 == pytest.approx(macs, rel=0.02)
    assert round(counted.parameters / 1e6, 2) == parameters


def test_the_tiny_rule_keeps_the_sizes_of_a_baseline_that_is_scaled_itself():
    b3 = get_variant("b3")
    prepared = Tiny().prepare(b3)
    assert cost(prepared) == cost(b3)
    assert [block.output_filters for block in scale_blocks(prepared)] == [b.output_filters for b in scale_blocks(b3)]


def test_the_tiny_rule_falls_on_all_its_way():
    path = [Tiny().factors(-step / 10) for step in range(80)]
    for one, next_one in itertools.pairwise(path):
        assert all(next_factor <= factor for factor, next_factor in zip(one, next_one, strict=True))


def test_activations_as_timm_counts_them():
    millions = {"b0": 6.75, "v2-s": 35.77, "b7": 289.94}
    assert {name: round(cost(name).activations / 1e6, 2) for name in millions} == millions


# arXiv 2103.06877, table 2: how activations grow where the multiply-adds do, for three shares of the width.
@pytest.mark.parametrize(("alpha", "exponent"), [(1 / 3, 0.83), (0.8, 0.60), (1.0, 0.50)])
def test_activations_grow_more_slowly_by_the_fast_rule(alpha, exponent):
    counted = [cost(scale("b0", fast(alpha).factors(step / 4))) for step in range(25)]  # 1 to 64 times the cost
    macs, activations = np.log([[one.macs, one.activations] for one in counted]).T
    assert np.polyfit(macs, activations, 1)[0] == pytest.approx(exponent, abs=0.03)


def test_a_scaled_variant():
    scaled = scale(get_variant("b1"), Factors(1.1, 1.2, 1.15), "mine")
    assert (scaled.name, scaled.resolution) == ("mine", 276)
    assert (scaled.width, scaled.depth) == pytest.approx((1.1, 1.32))
    assert scale(get_variant("b0"), Factors()).name == "efficientnet-b0-w1-d1-r224"


def test_the_objective_of_section_4():
    assert efficiency(0.8, 400e6, 400e6) == 0.8
    assert efficiency(0.8, 800e6, 400e6) == pytest.approx(0.8 * 0.95264, abs=1e-5)  # 2^-0.07
    assert efficiency(0.8, 200e6, 400e6, w=-1.0) == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Coefficients(0.9, 1.1, 1.1), r"alpha=0\.9: .* at least 1"),
        (lambda: Coefficients(1.2, math.nan, 1.1), "beta=nan"),
        (lambda: Coefficients(1.2, 1.1, math.inf), "gamma=inf"),
        (lambda: PAPER_COEFFICIENTS.factors(-math.inf), "phi=-inf: expected a finite exponent"),
        (
            lambda: scale(get_variant("b0"), Factors(width=-0.5)),
            r"width=-0\.5: expected a finite number greater than 0",
        ),
        (
            lambda: scale(dataclasses.replace(get_variant("b0"), resolution=16), Factors()),
            "at 16 pixels: expected at least 32",
        ),
        (lambda: Tiny().factors(0.1), r"phi=0\.1: .* this rule only shrinks"),
        (lambda: fast(1.5), r"alpha=1\.5: expected a fraction, 0 to 1"),
        (lambda: candidates(1.0), r"target=1\.0"),
        (lambda: candidates(tolerance=1.0), "tolerance=1"),
        (lambda: candidates(steps=0.0), r"steps=0\.0"),
        (lambda: candidates(steps=1e-9), r"target=2 in steps=1e-09 is a grid of more than 1,000,000 points"),
        (lambda: candidates(target=1e308, steps=1e-300), r"target=1e\+308 in steps=1e-300 is a grid of more than"),
        (lambda: efficiency(80.0, 1.0, 1.0), r"accuracy=80\.0: .* 0 to 1"),
        (lambda: efficiency(0.8, 0.0, 1.0), r"cost=0\.0"),
    ],
)
def test_what_cannot_be_scaled(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_fused_blocks():
    first, second, *_ = scale_blocks(get_variant("v2-b0"))
    assert (first.fused, first.expands, first.expanded_filters, first.output_filters) == (True, False, 32, 16)
    assert (second.fused, second.expands, second.expanded_filters, second.strides) == (True, True, 64, 2)
    # EdgeTPU's first stage takes the stem's 32 channels, but widens as if they were 24.
    first = scale_blocks(get_variant("edgetpu-s"))[0]
    assert (first.input_filters, first.expanded_filters, first.residual) == (32, 96, False)


def test_v2_rounds_filters_without_the_rule_of_ten_per_cent():
    narrow = dataclasses.replace(get_variant("v2-b0"), width=0.35)
    assert scale_blocks(narrow)[1].output_filters == 8  # 32 * 0.35 = 11.2
