"""The latency model, on a clock that counts what networks cost instead of running them."""

import dataclasses
import json
import math
import statistics
from contextlib import nullcontext

import numpy as np
import pytest

from efficientnet import get_variant
from efficientnet.family.costs import cost
from efficientnet.family.scaling import Factors, scale

pytest.importorskip("keras")
pytest.importorskip("scipy")

from efficientnet.design import Baseline, find_fastest, fit_budget, get_baseline, latency, latency_model
from efficientnet.design.latency import LatencyModel
from efficientnet.design.probes import build, probe
from efficientnet.design.timing import Timed, by_turns

# Of two cores with AVX-512, as fitted there.
SECONDS = {
    "averaged": 4.3e-10, "dense weights": 1.7e-10, "depthwise 3": 4e-11, "depthwise 5": 2.5e-11, "exponential": 4e-10,
    "fused": 9.9e-12, "image": 1.3e-9, "layers": 2.4e-6, "moved": 1e-11, "moved beyond 1000000": 1.1e-11,
    "pointwise": 9e-12, "stem": 1.6e-11, "weights": 2.4e-10,
}  # fmt: skip
MODEL = LatencyModel(Timed(), SECONDS, 0.03)


def seconds(variant):
    """A processor that is not a sum of the model's terms, with noise."""
    counted = cost(variant)
    noise = np.random.default_rng(counted.macs).normal(1, 0.01)
    return noise * (1e-4 + counted.macs / 5e10 + 4e-10 * counted.activations + counted.layers * 3e-6) ** 0.98


@pytest.fixture
def clock(monkeypatch, tmp_path):
    """Fake times, and the names of the networks that were timed."""
    timed = []

    def compiled(self, variant):
        timed.append(variant.name)
        spent = seconds(variant)
        return nullcontext(lambda: spent)

    monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path))
    monkeypatch.setattr(Timed, "compiled", compiled)
    monkeypatch.setattr(latency, "build", lambda variant: variant)
    return timed


def unseen(number):
    """A whole network of another width, depth and resolution, with one stage changed."""
    generator = np.random.default_rng(number)
    variant = get_variant(("b0", "lite0", "v2-b0")[number % 3])
    blocks = list(variant.blocks)
    blocks[-2] = dataclasses.replace(blocks[-2], num_repeat=int(generator.integers(1, 5)))
    factors = Factors(*(math.exp(generator.uniform(-0.4, 0.4)) for _ in range(3)))
    return scale(dataclasses.replace(variant, blocks=tuple(blocks)), factors)


def test_networks_that_were_not_measured_are_predicted(clock):
    model = latency_model(threads=2, networks=60)
    errors = [abs(model.milliseconds(one) / 1000 / seconds(one) - 1) for one in map(unseen, range(20))]
    assert statistics.median(errors) < 0.05
    assert max(errors) < 0.12
    assert model.error < 0.05


def test_a_table_is_measured_once_and_resumed(clock, tmp_path):
    def interrupt(done, count):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        latency_model(networks=24, report=interrupt)
    (path,) = (tmp_path / "latency").iterdir()
    assert len(json.loads(path.read_text())["measured"]) == 20
    clock.clear()
    whole = latency_model(networks=24)
    assert clock == ["reference", *(f"probe-{number}" for number in range(20, 24))]
    clock.clear()
    assert latency_model(networks=24) == whole
    assert not clock
    latency_model(threads=1, networks=5)  # has its own
    assert len(clock) == 6
    assert len(list((tmp_path / "latency").iterdir())) == 2


def test_a_process_that_may_use_fewer_processors_has_its_own_table(clock, tmp_path, monkeypatch):
    for count in (4, 1):
        monkeypatch.setattr(latency, "processors", lambda count=count: count)
        latency_model(networks=5)
    assert len(list((tmp_path / "latency").iterdir())) == 2


def test_what_a_busy_machine_slowed_is_measured_again_on_demand(clock, tmp_path, caplog):
    quiet = latency_model(networks=8)
    assert not caplog.text
    (path,) = (tmp_path / "latency").iterdir()
    content = json.loads(path.read_text())
    content["measured"]["3"] = [9.0, content["measured"]["3"][1], 1.6]
    path.write_text(json.dumps(content))
    clock.clear()
    assert latency_model(networks=8) != quiet
    assert "busy for 1 of 8 networks. When it is quiet, measure with again=True (--again)" in caplog.text
    assert not clock
    assert latency_model(networks=8, again=True) == quiet
    assert clock == ["reference", "probe-3"]


def of_format_4(*rows):
    return json.dumps({"format": 4, "measured": dict(enumerate(rows))})


@pytest.mark.parametrize(
    "content",
    [
        "{", '{"format": 1, "measured": {}}', of_format_4([-1, 1]), of_format_4([1e-300, 1e-3, 1.1]),
        of_format_4([1e-3, 1e-3, 1.1], [1e300, 1e-3, 1.1]), of_format_4([float("nan"), 1e-3, 1.1]),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_measured_anew(clock, tmp_path, caplog, content):
    latency_model(networks=8)
    (path,) = (tmp_path / "latency").iterdir()
    path.write_text(content)
    clock.clear()
    latency_model(networks=8)
    assert len(clock) == 9
    assert "cannot be used" in caplog.text
    assert len(json.loads(path.read_text())["measured"]) == 8


def test_probes_are_small_networks_that_can_be_built():
    assert probe(3) == probe(3) != probe(4)
    assert all(2e6 <= cost(probe(number)).macs <= (2e8 if number % 4 else 1e9) for number in range(12))
    smallest = min(map(probe, range(1, 12)), key=lambda one: cost(one).macs)
    small = dataclasses.replace(smallest, resolution=32, head_filters=16)
    assert build(small).output_shape == (None, small.classes)


def test_networks_are_timed_by_turns():
    slow, order = iter([0.002, 0.002, 0.008] * 100), []

    def run(name, spent):
        order.append(name)
        return next(spent)

    a, b = by_turns([lambda: run("a", slow), lambda: run("b", iter([0.011]))])
    assert (a.seconds, b.seconds) == pytest.approx((0.002, 0.011))
    assert (a.spread, b.spread) == pytest.approx((1, 1))
    disturbed = iter([0.002, 0.008, 0.008] * 100)
    assert by_turns([lambda: next(disturbed)])[0] == pytest.approx((0.002, 4))
    assert order[:5] == ["a", "a", "a", "b", "a"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: latency_model("fastest"), "differs between networks: expected one engine"),
        (lambda: latency_model("other"), "engine='other': expected one of"),
        (lambda: latency_model(networks=4), "networks=4: expected an integer of at least 5"),
        (lambda: latency_model(threads=0), "threads=0: expected an integer of at least 1"),
        (lambda: MODEL.milliseconds("condconv-b0-4e"), "mixes kernels for each image"),
        (lambda: find_fastest(get_baseline("resnet-50"), 1e9, MODEL), "resnet-50 is not an EfficientNet"),
        (lambda: fit_budget(get_baseline("b0"), macs=1e9, threads=1, latency=MODEL), "expected a model of Timed"),
    ],
)
def test_what_cannot_be_predicted(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_budget_of_milliseconds_is_met_by_prediction_and_few_measurements(monkeypatch):
    timed = []

    def milliseconds(self, variant):
        timed.append(variant)
        return 1.25 * MODEL.milliseconds(variant) ** 0.97

    monkeypatch.setattr(Timed, "milliseconds", milliseconds)
    monkeypatch.setattr(Baseline, "build", Baseline.scaled)
    budget = 3 * MODEL.milliseconds("b0")
    fit = fit_budget(get_baseline("b0"), milliseconds=budget, latency=MODEL)
    assert 0.97 * budget < fit.prices["milliseconds"] <= budget
    assert fit.prices["milliseconds"] == pytest.approx(1.25 * MODEL.milliseconds(fit.variant()) ** 0.97)
    assert len(timed) <= 5


@pytest.mark.parametrize(("name", "times"), [("lite0", 2.0), ("b0", 4.33), ("v2-b0", 5.85), ("edgetpu-s", 7.48)])
def test_compound_scaling_is_compared_at_the_same_cost(name, times, monkeypatch):
    monkeypatch.setattr(Baseline, "build", Baseline.scaled)
    monkeypatch.setattr(Timed, "compiled", lambda self, variant: nullcontext(lambda: MODEL.milliseconds(variant)))
    baseline = get_baseline(name)
    macs = times * baseline.cost(Factors()).macs
    compound, *found = find_fastest(baseline, macs, MODEL, steps=6)
    assert all(one.macs == pytest.approx(macs, rel=0.01) for one in (compound, *found))
    assert all(baseline.pixels(one.factors) <= baseline.pixels(compound.factors) for one in found)


def test_the_fastest_networks_of_b7s_cost_go_the_way_of_efficientnet_x(monkeypatch):
    monkeypatch.setattr(Baseline, "build", Baseline.scaled)

    def compiled(self, variant):
        spent = MODEL.milliseconds(variant) / 1000
        return nullcontext(lambda: spent)

    monkeypatch.setattr(Timed, "compiled", compiled)
    b7 = cost("b7").macs
    compound, *found = find_fastest(get_baseline("b0"), b7, MODEL, steps=9)
    assert len(found) == 3
    for one in found:
        assert abs(one.macs / b7 - 1) < 0.01
        assert one.factors.resolution < compound.factors.resolution
        assert one.factors.width > compound.factors.width
        assert one.factors.depth > 0.999 * compound.factors.depth
        assert one.measured == pytest.approx(one.predicted)
        assert one.measured < compound.measured
    assert found[0].measured == min(one.measured for one in found)
