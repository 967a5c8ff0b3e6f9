"""Growing a baseline to a budget, measured on the networks themselves."""

import csv
import dataclasses
import functools

import pytest

from efficientnet import get_variant
from efficientnet.family.compound import PAPER_COEFFICIENTS, Coefficients
from efficientnet.family.costs import cost
from efficientnet.family.scaling import Factors

pytest.importorskip("keras")

from efficientnet.design import Baseline, at_equal_cost, fit_budget, get_baseline, growths, timing
from efficientnet.design.timing import Timed

B0 = get_baseline("b0")


@pytest.mark.parametrize("name", [f"efficientnet-b{number}" for number in range(1, 8)])
def test_the_published_costs_are_reached_from_b0(facts, name):
    lines = [line for line in (facts / "costs.tsv").read_text().splitlines() if not line.startswith("#")]
    published = {row["variant"]: int(row["macs"]) for row in csv.DictReader(lines, delimiter="\t")}[name]
    fit = fit_budget(B0, macs=published)
    assert 0.9 <= fit.prices["macs"] / published <= 1
    # It is the largest: the next step of φ is over the budget.
    assert B0.cost(PAPER_COEFFICIENTS.factors(fit.phi + 2e-3)).macs > published


@pytest.mark.parametrize(
    ("macs", "published"),
    [
        (339e6, (1.0, 1.2, 192)),
        (202e6, (0.75, 1.1, 188)),
        (100e6, (0.54, 0.85, 184)),
        (52e6, (0.54, 0.695, 152)),
        (24e6, (0.51, 0.6, 106)),
    ],
)
def test_tinynets_are_what_the_tiny_rule_makes_of_their_budgets(macs, published):
    fit = fit_budget(B0, "tiny", macs=macs)
    assert (fit.factors.width, fit.factors.depth, fit.resolution) == pytest.approx(published, rel=0.1)
    assert fit.prices["macs"] <= macs
    assert fit.prices["macs"] == cost(fit.variant()).macs


@pytest.mark.parametrize(
    ("published", "factors", "macs"),
    [
        ("b3", (1.27, 1.62, 263), 1_729_091_328), ("b5", (1.96, 2.76, 332), 10_022_949_200),
        ("b7", (3.26, 3.44, 350), 35_312_361_288), ("b3", (1.31, 1.63, 255), 1_567_833_728),
        ("b5", (1.94, 3.29, 306), 10_060_514_176), ("b7", (2.58, 5.46, 350), 34_587_942_328),
    ],
)  # fmt: skip
def test_efficientnet_x_costs_about_as_much_with_lower_resolution(published, factors, macs):
    """The scaled networks of arXiv 2102.05610, for TPUs and then for GPUs."""
    width, depth, resolution = factors
    row = get_variant(published)
    assert B0.cost(Factors(width, depth, resolution / 224)).macs == macs
    assert macs / cost(row).macs == pytest.approx(1, abs=0.15)
    assert (resolution < row.resolution, width > row.width, depth > row.depth) == (True, True, True)


@pytest.mark.parametrize("rule", ["compound", "fast", "tiny", Coefficients(1.0, 1.3, 1.0)])
def test_a_budget_below_the_baseline_shrinks_it(rule):
    fit = fit_budget(B0, rule, macs=150e6)
    assert fit.phi < 0
    assert 0.85 * 150e6 < fit.prices["macs"] <= 150e6
    # Near the budget, or between the two networks that rounding allows.
    assert fit.is_close or fit.above["macs"] > 150e6


def test_the_tighter_of_several_budgets_binds():
    alone = fit_budget(B0, parameters=4e6)
    both = fit_budget(B0, parameters=4e6, macs=350e6)
    assert (alone.factors, alone.binding, both.binding) == (both.factors, "parameters", "parameters")
    assert fit_budget(B0, parameters=4e6, macs=100e6).binding == "macs"


def test_a_budget_of_parameters():
    fit = fit_budget(B0, Coefficients(1.0, 1.2, 1.1), parameters=8e6)
    assert 7e6 < fit.prices["parameters"] <= 8e6
    assert fit.factors.depth == 1
    assert fit.resolution == round(224 * 1.1**fit.phi)


@pytest.mark.parametrize("currency", ["macs", "parameters", "activations", "bytes", "memory"])
@pytest.mark.parametrize("share", [0.3, 3.0])
def test_a_budget_in_each_currency(currency, share):
    budget = share * B0.cost(Factors()).prices("f16")[currency]
    fit = fit_budget(B0, precision="f16", **{currency: budget})
    assert (fit.phi > 0) == (share > 1)
    assert 0.9 * budget < fit.prices[currency] <= budget
    assert fit.is_close or fit.above[currency] > budget


def test_files_and_memory_in_other_precisions():
    cost = B0.cost(Factors())
    assert [round(cost.bytes(precision) / 1e5) for precision in ("f32", "f16", "int8")] == [211, 106, 57]
    # 96 channels at half of the input, and what the depthwise convolution makes of them.
    assert cost.peak == 96 * 112**2 + 96 * 56**2
    assert cost.memory("f32") == 4 * (5_267_540 + cost.peak)
    with pytest.raises(ValueError, match="precision='f8': expected one of 'f32', 'f16', 'int8'"):
        fit_budget(B0, macs=1e9, precision="f8")


def test_the_memory_of_a_training_step():
    counted = B0.cost(Factors())
    assert counted.training_memory(32) == 16 * counted.parameters + 32 * 4 * counted.kept
    assert counted.training_memory(32, "f16") == 16 * counted.parameters + 32 * 2 * counted.kept
    fit = fit_budget(B0, memory=2e9, training_batch=32)
    assert fit.phi < 0
    assert 0.9 * 2e9 < fit.prices["memory"] == fit.cost.training_memory(32) <= 2e9


@pytest.mark.parametrize("name", ["b0", "v2-b0", "lite0", "edgetpu-s"])
def test_a_graph_costs_what_is_counted_of_its_description(name):
    from efficientnet import keras

    whole = get_variant(name)
    small = dataclasses.replace(whole, name="small", width=0.25, resolution=64, blocks=whole.blocks[:2])
    by_graph = Baseline(
        "graph", 64, 10, function=lambda *_: keras.create(small, weights=None, classes=10, include_preprocessing=True)
    )
    assert by_graph.cost(Factors()) == cost(small, classes=10)


@pytest.mark.slow
def test_files_are_as_large_as_counted(tmp_path):
    pytest.importorskip("onnx")
    from efficientnet import keras
    from efficientnet.export.formats import WRITERS
    from efficientnet.keras_graph.fold import fold_batch_norm
    from efficientnet.keras_graph.tensorflow import Options

    small = dataclasses.replace(get_variant("b0"), name="small", width=0.5, depth=0.1, resolution=32)
    model = fold_batch_norm(keras.create(small, weights=None))
    for precision in ("f32", "f16"):
        WRITERS["onnx"](model, tmp_path / "small.onnx", Options(precision))
        assert (tmp_path / "small.onnx").stat().st_size == pytest.approx(cost(small).bytes(precision), rel=0.01)


def test_milliseconds_are_measured_few_times(monkeypatch):
    timed = []

    def milliseconds(self, model):
        timed.append(model)
        return 2 + (model / 1e8) ** 0.8

    monkeypatch.setattr(Timed, "milliseconds", milliseconds)
    monkeypatch.setattr(Baseline, "build", lambda self, factors: self.cost(factors).macs)
    fit = fit_budget(B0, milliseconds=9.0, macs=2e9)
    assert fit.prices["milliseconds"] <= 9 < fit.above["milliseconds"]
    assert (fit.binding, len(timed) <= 10) == ("milliseconds", True)
    # Where another budget binds, its network is timed, too.
    fit = fit_budget(B0, milliseconds=9.0, macs=2e8)
    assert (fit.binding, fit.prices["milliseconds"] < 9) == ("macs", True)
    assert "milliseconds" not in fit_budget(B0, macs=2e8).prices
    assert fit_budget(B0, macs=2e8, measure=True).prices["milliseconds"] == fit.prices["milliseconds"]


@pytest.mark.slow
def test_a_budget_of_milliseconds(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(timing, "_LEAST_SECONDS", 0.02)  # ten predictions of each network are enough here
    lite = get_variant("lite0")
    small = dataclasses.replace(lite, width=0.25, resolution=32, blocks=lite.blocks[:2], head_filters=64)
    baseline = Baseline.from_variant(small, classes=10)
    budget = 3 * Timed().milliseconds(baseline.build(Factors()))
    fit = fit_budget(baseline, milliseconds=budget)
    assert 0 < fit.prices["milliseconds"] <= budget


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: fit_budget(B0, macs=1e3),
            "1,000 multiply-adds is too small .* 32 pixels it takes 382,064 multiply-adds",
        ),
        (lambda: fit_budget(B0, macs=1e9, parameters=1e3), "1,000 parameters is too small"),
        (
            lambda: fit_budget(B0, "tiny", macs=1e9),
            "not reached by the largest network .* takes 414,851,056 .*this rule only shrinks",
        ),
        (lambda: fit_budget(get_baseline("b1-pruned"), macs=1e8), "too small .* so it cannot be scaled"),
        (lambda: fit_budget(B0, "huge", macs=1e9), "rule='huge': expected one of 'compound', 'tiny', 'fast'"),
        (lambda: fit_budget(B0), "There is no budget: give at least one of macs"),
        (lambda: fit_budget(B0, memory=1e9, training_batch=0), "training_batch=0: expected"),
        (lambda: fit_budget(B0, memory=1e9, training_batch=8, precision="int8"), "trained in one of 'f32', 'f16'"),
        (lambda: fit_budget(B0, memory=1e6, training_batch=8), "bytes of memory is too small"),
        (lambda: fit_budget(B0, macs=float("nan")), "macs=nan: expected a finite number"),
        (lambda: fit_budget(B0, Coefficients(1, 1, 1.2), parameters=1e7), "not reached by the largest"),
        (lambda: fit_budget(B0, Coefficients(1, 1, 1), macs=1e9), "not reached by the largest"),
        (lambda: fit_budget(B0, macs=float("inf")), "macs=inf: expected a finite number"),
        (lambda: B0.cost(Factors(depth=-0.5)), r"depth=-0\.5"),
        (lambda: get_baseline("resnet-34"), "Unknown variant 'resnet-34'"),
        (lambda: Baseline("mine", 16, 10), r"resolution=16: expected at least 32"),
    ],
)
def test_budgets_that_cannot_be_met(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("macs", [0.8e9, 1.6e9, 3e9])
def test_one_network_of_each_kind_at_equal_cost(macs):
    equal = at_equal_cost(B0, growths(), macs)
    costs = [B0.cost(factors).macs for factors in equal.values()]
    assert list(equal) == ["width", "depth", "resolution", "compound"]
    assert max(costs) / min(costs) < 1.062  # all within 3% of a common budget
    assert 0.75 < costs[0] / macs < 1.34
    assert equal["width"] == Factors(width=equal["width"].width)
    assert equal["depth"] == Factors(depth=equal["depth"].depth)
    assert min(equal["compound"]) > 1


def test_shrunk_networks_at_equal_cost():
    equal = at_equal_cost(B0, growths(), 200e6, samples=100)
    costs = [B0.cost(factors).macs for factors in equal.values()]
    assert max(costs) / min(costs) < 1.062
    assert equal["depth"].depth < 0.5 < equal["width"].width < 1  # a block is left of each stage, 173 M in all
    with pytest.raises(ValueError, match=r"too small for the smallest network .* width × 1, depth × 0"):
        at_equal_cost(B0, growths(), 100e6)


def test_steps_that_are_too_coarse():
    with pytest.raises(ValueError, match="its steps are too coarse"):
        at_equal_cost(B0, growths(), 0.8e9, tolerance=0.0, samples=5)


def network(width, depth, resolution, classes=10):
    import keras

    inputs = keras.Input((resolution, resolution, 3))
    x = inputs
    for _ in range(round(2 * depth)):
        x = keras.layers.Conv2D(round(8 * width), 3, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))


@pytest.mark.slow
def test_a_custom_function():
    mine = Baseline.from_function(network, resolution=32)
    assert mine.name == "network"
    # 32² · 9 · (3·8 + 8·8) and a dense layer of 8 · 1000.
    cost = mine.cost(Factors())
    assert cost.macs == 32**2 * 9 * (3 * 8 + 8 * 8) + 8 * 1000
    assert (cost.activations, cost.peak) == (2 * 8 * 32**2 + 1000, 2 * 8 * 32**2)
    # What convolutions and the dense layer take, and the probabilities.
    assert cost.kept == (3 + 8) * 32**2 + 8 + 1000
    assert mine.build(Factors(2.0, 2.0, 1.5), classes=4).output_shape == (None, 4)
    fit = fit_budget(mine, macs=2e5)
    assert 1.5e5 < fit.prices["macs"] <= 2e5
    assert fit.phi < 0
    fit = fit_budget(mine, macs=5e6)
    assert 4e6 < fit.prices["macs"] <= 5e6


@pytest.mark.parametrize("ignored", ["width", "depth", "resolution"])
def test_a_function_that_ignores_a_factor(ignored):
    def function(width, depth, resolution, classes):
        given = {"width": width, "depth": depth, "resolution": resolution}
        given[ignored] = {"width": 1.0, "depth": 1.0, "resolution": 32}[ignored]
        return network(**given, classes=classes)

    with pytest.raises(ValueError, match=f"function ignores {ignored}: at a factor of 2 it costs the same"):
        Baseline.from_function(function, resolution=32)


def test_where_a_function_takes_the_number_of_classes():
    def outputs(function):
        return Baseline.from_function(function, 32, "mine", classes=7).build(Factors()).output_shape[-1]

    def activated(width, depth, resolution, activation="relu"):
        assert activation == "relu"
        return network(width, depth, resolution, 7)

    def any_name(width, depth, resolution, count):
        return network(width, depth, resolution, count)

    def fifth(width, depth, resolution, activation="relu", classes=10):
        return network(width, depth, resolution, classes)

    def keyword(width, depth, resolution, *, classes):
        return network(width, depth, resolution, classes)

    def five(width, depth, resolution, classes, activation):
        return network(width, depth, resolution, classes)

    functions = [activated, any_name, fifth, keyword, functools.partial(five, activation="relu")]
    assert [outputs(function) for function in functions] == [7] * 5


def test_functions_that_cannot_be_used():
    with pytest.raises(TypeError, match=r"<lambda>\(width, depth\) does not take three arguments, or four"):
        Baseline.from_function(lambda width, depth: None)
    fixed = Baseline.from_function(lambda width, depth, resolution: network(width, depth, resolution, 7), 32, "fixed")
    with pytest.raises(ValueError, match=r"fixed gives outputs of shape \(None, 7\): expected \(None, 3\)"):
        fixed.build(Factors(), classes=3)

    def broken(width, depth, resolution):
        return {}[resolution]

    with pytest.raises(ValueError, match=r"^broken with width=1, depth=1, resolution=48 failed with KeyError: 48$"):
        Baseline.from_function(broken, 48)
    with pytest.raises(ValueError, match=r"empty with width=1, .* returned None: expected a Keras model"):
        Baseline.from_function(lambda width, depth, resolution: None, name="empty")


def test_a_function_with_layers_of_unknown_cost():
    import keras

    class Mystery(keras.layers.Layer):
        def call(self, x):
            return x

    def function(width, depth, resolution):
        model = network(width, depth, resolution)
        return keras.Model(model.input, Mystery(name="mystery")(model.output))

    with pytest.raises(ValueError, match=r"cost of these layers is unknown: mystery \(Mystery\)"):
        Baseline.from_function(function, 32)
