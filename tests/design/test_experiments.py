"""Searching and comparing for real, on networks and data small enough for a test."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("optuna")

from efficientnet import get_variant, save_variant
from efficientnet.datasets.data import Data
from efficientnet.datasets.targets import Classes
from efficientnet.design import (
    Baseline,
    Coefficients,
    LatencyModel,
    ShortTraining,
    compare,
    load_results,
    recipe,
    search,
    search_architecture,
)
from efficientnet.design.experiments import search_networks
from efficientnet.design.recipe import train
from efficientnet.design.timing import Timed
from efficientnet.family.compound import candidates
from efficientnet.family.costs import cost
from efficientnet.family.scaling import Factors
from efficientnet.family.variants import V1_BLOCKS

pytestmark = pytest.mark.usefixtures("eagerly")

if os.environ.get("KERAS_BACKEND") == "openvino":
    pytest.skip("Keras on OpenVINO does not train", allow_module_level=True)

# Two stages, few filters, no gates: a step takes its time for each array, and a training is one.
SMALL = dataclasses.replace(
    get_variant("b0"), name="small", width=0.5, resolution=32, head_filters=64, depth_divisor=4,
    blocks=tuple(dataclasses.replace(block, se_ratio=None) for block in V1_BLOCKS[:2]), batch_norm_momentum=0.9,
    classes=2,
)  # fmt: skip
QUICK = ShortTraining(epochs=1, batch_size=64)


@pytest.fixture(scope="module")
def data():
    """Stripes that lie or stand."""
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 2
    stripes = np.where(np.arange(32) // 4 % 2, 200, 40)
    pixels = np.empty((96, 32, 32, 3), np.uint8)
    for index, label in enumerate(labels):
        image = np.roll(np.tile(stripes, (32, 1)), rng.integers(8), axis=1)
        noisy = (image.T if label else image)[..., None] + rng.integers(-40, 40, (32, 32, 3))
        pixels[index] = np.clip(noisy, 0, 255)
    return Data("stripes", pixels, Classes(["stand", "lie"], labels), np.arange(64), np.arange(64, 96))


def test_candidates_that_round_to_the_same_network_are_one():
    baseline = Baseline.from_variant(SMALL)
    grid = candidates(2.0, 0.1, 0.05)
    networks = search_networks(baseline, grid, 2.0, 0.1)
    assert networks[0].method == "baseline"
    assert len(networks) < len(grid)
    assert len({(n.parameters, n.macs, n.resolution) for n in networks}) == len(networks)
    assert all(abs(n.macs / (2 * networks[0].macs) - 1) <= 0.1 for n in networks[1:])
    with pytest.raises(ValueError, match="within 0% of 2 times its multiply-adds"):
        search_networks(baseline, grid[:3], 2.0, 0.0)


def train_small(data, recipe, report=None):
    return train(lambda: Baseline.from_variant(SMALL).build(Factors()), data, recipe, 0, report)


@pytest.mark.slow
def test_a_training_learns(data):
    reported = []
    recipe = ShortTraining(epochs=4, batch_size=16, flip=False)
    final, _ = train_small(data, recipe, lambda *epoch: reported.append(epoch))
    assert [epoch for epoch, _ in reported] == [1, 2, 3, 4]
    assert reported[-1][1] == final > 0.9


@pytest.mark.slow
def test_a_training_repeats_to_the_bit(data):
    (accuracy, model), (again, repeated) = (train_small(data, QUICK) for _ in range(2))
    assert again == accuracy
    for found, expected in zip(repeated.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_a_search_from_start_to_end(data, tmp_path, capsys):
    grid = [Coefficients(1.0, 1.4, 1.0)]
    call = {"grid": grid, "cost_tolerance": 0.5, "seeds": (0, 1), "recipe": QUICK, "prune": False}
    results = search(Baseline.from_variant(SMALL), data, tmp_path, **call)
    assert [network.method for network in results.networks] == ["baseline", "candidate"]
    assert all(len(network.accuracies) == 2 for network in results.networks)
    assert results.data == {"name": "stripes", "classes": 2, "training": 64, "validation": 32}
    assert load_results(tmp_path / "search.json") == results
    output = capsys.readouterr().out
    assert "4 of 4 trainings, 0 given up early" in output
    assert "min left" in output
    # A further call has nothing to do.
    assert search(Baseline.from_variant(SMALL), data, tmp_path, **call) == results
    assert "trainings" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="other settings"):
        search(Baseline.from_variant(SMALL), data, tmp_path, **{**call, "recipe": ShortTraining(epochs=3)})


@pytest.mark.slow
def test_a_comparison_from_start_to_end(data, tmp_path):
    results = compare(Baseline.from_variant(SMALL), [6e5], data, tmp_path, seeds=(3,), recipe=QUICK, tolerance=0.05)
    assert [network.method for network in results.networks] == ["baseline", "width", "depth", "resolution", "compound"]
    costs = [network.macs for network in results.networks[1:]]
    assert max(costs) / min(costs) <= 1.05 / 0.95
    assert sorted(path.stem for path in (tmp_path / "models").iterdir()) == sorted(n.method for n in results.networks)
    with np.load(tmp_path / "images.npz") as images:
        assert images["pixels"].shape == (2, 32, 32, 3)
        assert images["classes"].tolist() == ["stand", "lie"]


@pytest.mark.slow
def test_a_search_for_an_architecture(data, tmp_path):
    pytest.importorskip("matplotlib")
    front = search_architecture(SMALL, data, tmp_path, trials=2, recipe=QUICK)
    assert 1 <= len(front) <= 2
    assert [found.price for found in front] == sorted(found.price for found in front)
    assert [found.accuracy for found in front] == sorted(found.accuracy for found in front)
    assert all(len(found.variant.blocks) == 2 for found in front)
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_stages_are_searched_within_budgets(data, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(recipe, "fit", lambda model, *_: model.count_params() / 1e5)
    options = {"changes": ["repeats", "filters", "resolution"], "budgets": {"macs": 2e6}, "cost": "activations"}
    front = search_architecture(SMALL, data, tmp_path, trials=8, recipe=QUICK, **options)
    assert [found.price for found in front] == sorted(found.price for found in front)
    for found in front:
        assert 1e6 < cost(found.variant, classes=2).macs <= 2e6
        assert found.price == cost(found.variant, classes=2).activations
        kept = [dataclasses.replace(new, num_repeat=old.num_repeat, input_filters=old.input_filters,
                                    output_filters=old.output_filters)
                for old, new in zip(SMALL.blocks, found.variant.blocks, strict=True)]  # fmt: skip
        assert tuple(kept) == SMALL.blocks
    # The study goes on, and knows its settings.
    assert search_architecture(SMALL, data, tmp_path, trials=8, recipe=QUICK, **options) == front
    with pytest.raises(ValueError, match="cost was 'activations' and is 'macs'"):
        search_architecture(SMALL, data, tmp_path, trials=8, recipe=QUICK, **{**options, "cost": "macs"})
    with pytest.raises(ValueError, match="milliseconds need a latency model"):
        search_architecture(SMALL, data, tmp_path, cost="milliseconds")
    with pytest.raises(ValueError, match="1,000 multiply-adds is too small"):
        search_architecture(SMALL, data, tmp_path / "other", budgets={"macs": 1e3})


@pytest.mark.slow
def test_an_interruption_changes_no_network_of_a_search(data, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    import optuna

    trained = []

    def fit(model, *_):
        trained.append(model.count_params())
        if len(trained) == 3:
            raise KeyboardInterrupt
        return 0.5

    def draw(folder, trials):
        search_architecture(SMALL, data, folder, trials=trials, recipe=QUICK)
        study = optuna.load_study(study_name="design", storage=f"sqlite:///{folder / 'study.db'}")
        return [tuple(trial.params.values()) for trial in study.trials]

    monkeypatch.setattr(recipe, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        draw(tmp_path / "interrupted", 6)
    networks = draw(tmp_path / "interrupted", 6)
    assert len(set(networks)) == 6
    assert draw(tmp_path / "whole", 6) == networks


@pytest.mark.slow
def test_a_search_by_predicted_times_goes_on_with_the_same_model_of_them(data, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(recipe, "fit", lambda model, *_: 0.5)
    options = {"recipe": QUICK, "budgets": {"milliseconds": 0.5}}
    search_architecture(SMALL, data, tmp_path, trials=1, latency=LatencyModel(Timed(), {"stem": 1e-9}, 0.1), **options)
    another = LatencyModel(Timed(), {"stem": 2e-9}, 0.1)
    with pytest.raises(ValueError, match="latency was "):
        search_architecture(SMALL, data, tmp_path, trials=2, latency=another, **options)


@pytest.mark.slow
def test_the_fastest_networks_of_a_search_are_measured(data, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(recipe, "fit", lambda model, *_: 0.5)
    monkeypatch.setattr(Timed, "milliseconds", lambda self, model: 7.0)
    model = LatencyModel(Timed(), {"pointwise": 1e-9}, 0.03)
    front = search_architecture(SMALL, data, tmp_path, trials=2, recipe=QUICK, cost="milliseconds", latency=model)
    assert [found.price for found in front] == [7.0]


@pytest.mark.slow
def test_a_killed_search_goes_on(tmp_path):
    pytest.importorskip("sklearn")
    save_variant(SMALL, tmp_path / "small.json")
    command = [
        sys.executable, "-m", "efficientnet", "design", "search", str(tmp_path / "small.json"), "--data", "digits",
        "--out", str(tmp_path), "--training-images", "64", "--validation-images", "32", "--seeds", "1",
        "--epochs", "1", "--steps", "0.4", "--tolerance", "0.1", "--cost-tolerance", "0.5",
    ]  # fmt: skip
    # Where it is there PyTorch, which needs not compile each of many networks first.
    fast = {"KERAS_BACKEND": "torch", "EFFICIENTNET_TEST_WITHOUT": "tensorflow"} if find_spec("torch") else {}
    environment = {**fast, **os.environ}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert "1 of" in process.stdout.readline()  # the first training is over
    process.kill()
    process.wait()
    again = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    results = json.loads((tmp_path / "search.json").read_text())
    assert all(len(network["accuracies"]) + network["stopped"] == 1 for network in results["networks"])
    assert f"{len(results['networks'])} of {len(results['networks'])} trainings" in again.stdout
    assert "\n1 of" not in again.stdout
    assert " best |" in again.stdout


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": -1.0}, {"shift": float("nan")}])
def test_recipes_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShortTraining(**wrong)


def test_data_of_one_class(data, tmp_path):
    with pytest.raises(ValueError, match="1 class: expected at least 2"):
        search(
            Baseline.from_variant(SMALL),
            dataclasses.replace(data, targets=Classes(["one"], np.zeros(96, int))),
            tmp_path,
        )
