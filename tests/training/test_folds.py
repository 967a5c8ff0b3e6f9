"""A training in folds: how images are split, the mean of the networks, what is written, and resuming."""

import csv
import dataclasses
import functools
import json
import shutil
import signal

import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("sklearn")

import keras
from small_task import SmallTask, small_task
from test_training_report import files_task, sections
from tiny_blocks import tiny_blocks

from efficientnet import get_variant, inference
from efficientnet.checkpoints import read_checkpoint
from efficientnet.datasets.data import Data
from efficientnet.datasets.splits import select_rows
from efficientnet.datasets.targets import Classes, Labels, Ordinal, Values
from efficientnet.errors import CheckpointError, Interrupted
from efficientnet.explain import explain
from efficientnet.keras import create
from efficientnet.keras_files.metadata import read_class_names, read_targets
from efficientnet.training import (
    CrossValidation,
    average_models,
    fold_tasks,
    plan,
    train_folds,
    write_folds_report,
)

pytestmark = pytest.mark.usefixtures("eagerly")

QUICK = {"epochs": 1, "stages": 1, "magnitude": (0, 0), "mixup": (0, 0)}


def task_of(targets):
    """The small task with other targets; every fourth image is in the validation part."""
    task = small_task()
    pixels = np.random.default_rng(0).integers(0, 256, (len(targets.values), 20, 20, 3), np.uint8)
    rows = np.arange(len(pixels))
    return dataclasses.replace(task, data=Data("noise", pixels, targets, rows[rows % 4 > 0], rows[rows % 4 == 0]))


def outputs_of(folder, pixels):
    return keras.models.load_model(folder / "model.keras", compile=False).predict_on_batch(pixels.astype("float32"))


class TestFolds:
    def test_are_disjoint_complete_and_in_equal_shares(self):
        task = task_of(Classes(["a", "b", "c"], np.repeat([0, 1, 2], (12, 6, 3))))
        parts = [each.data for each in fold_tasks(task, 3)]
        np.testing.assert_array_equal(np.sort(np.concatenate([part.validation for part in parts])), np.arange(21))
        for part in parts:
            assert not set(part.training) & set(part.validation)
            assert len(part.training) + len(part.validation) == 21
            np.testing.assert_array_equal(part.targets.counts(part.validation), [4, 2, 1])

    def test_depend_on_the_seed_alone(self):
        task = task_of(Classes(["a", "b"], np.arange(16) % 2))
        order = np.random.default_rng(1).permutation(16)
        data = task.data
        moved = dataclasses.replace(
            task, data=dataclasses.replace(data, pixels=data.pixels[order], targets=data.targets.take(order))
        )
        same, other = moved, dataclasses.replace(task, seed=1)
        found = [each.data.validation.tolist() for each in fold_tasks(task, 2)]
        assert found == [each.data.validation.tolist() for each in fold_tasks(task, 2)]
        assert found == [sorted(order[each.data.validation].tolist()) for each in fold_tasks(same, 2)]
        assert found != [each.data.validation.tolist() for each in fold_tasks(other, 2)]

    def test_copies_stay_together(self):
        task = task_of(Classes(["a", "b"], np.arange(16) % 2))
        task.data.pixels[8:] = task.data.pixels[:8]
        for each in fold_tasks(task, 4):
            assert {row % 8 for row in each.data.training}.isdisjoint(row % 8 for row in each.data.validation)

    def test_rare_labels_are_shared_out(self):
        has = np.stack([np.arange(40) % 2 == 0, np.arange(40) < 4, np.zeros(40, bool)], axis=1)
        has[36:, 2] = True
        for each in fold_tasks(task_of(Labels(["often", "first", "last"], has)), 4):
            often, *rare = each.data.targets.counts(each.data.validation)
            assert rare == [1, 1] and often >= 4

    def test_what_cannot_be_split_is_refused(self, monkeypatch):
        few = task_of(Classes(["many", "few"], (np.arange(16) > 13).astype(int)))
        with pytest.raises(ValueError, match=r"fewer different images than 3 folds: few 2\. Add images, choose fewer"):
            fold_tasks(few, 3)
        with pytest.raises(ValueError, match="folds=1: expected"):
            fold_tasks(few, 1)
        with pytest.raises(ValueError, match=r"all images to validate with have the same size.*--folds"):
            fold_tasks(task_of(Values(["size"], np.arange(4.0)[:, np.newaxis])), 4)
        with pytest.raises(ValueError, match="A teacher may have trained"):
            fold_tasks(dataclasses.replace(small_task(), teacher=object()), 2)


@functools.cache
def trained(folder):
    task = small_task(**QUICK)
    return task, folder, train_folds(task, 2, folder)


@pytest.fixture(scope="module")
def folder_of_run(tmp_path_factory):
    return tmp_path_factory.mktemp("folds")


@pytest.fixture
def run(eagerly, folder_of_run):
    """A training in two folds: its task, its folder, and what it returned."""
    return trained(folder_of_run)


class TestRun:
    def test_the_model_is_the_mean_of_the_networks(self, run):
        task, out, found = run
        pixels = task.data.pixels
        each = [outputs_of(out / f"fold-{number}", pixels) for number in (1, 2)]
        np.testing.assert_allclose(outputs_of(out, pixels), np.mean(each, axis=0), atol=1e-6)
        for row, fold, outputs in zip(found.rows, found.fold, found.outputs, strict=True):
            np.testing.assert_allclose(outputs, each[fold - 1][row], atol=1e-6)
        assert read_class_names(out / "model.keras") == ["a", "b"]
        assert read_targets(out / "model.keras") == "classes"
        with inference.compile(inference.ModelSource.of_file(out, keep=False), cache=False) as predictor:
            np.testing.assert_allclose(predictor.predict(pixels[:3]), outputs_of(out, pixels[:3]), atol=1e-5)
            assert predictor.spec.kind == "probabilities"

    def test_scores_are_written(self, run):
        task, out, found = run
        right = found.outputs.argmax(axis=1) == task.data.targets.values
        assert found.measures["accuracy"] == pytest.approx(right.mean())
        for number, score in enumerate(found.scores, 1):
            assert score == pytest.approx(right[found.fold == number].mean(), abs=1e-5)
        with (out / "folds.csv").open() as file:
            rows = {row["fold"]: row["accuracy"] for row in csv.DictReader(file)}
        expected = {"1": found.scores[0], "2": found.scores[1], "mean": found.scores.mean()}
        expected |= {"standard deviation": found.scores.std(ddof=1), "out of fold": right.mean()}
        assert {name: float(value) for name, value in rows.items()} == pytest.approx(expected, abs=1e-5)
        with (out / "out_of_fold.csv").open() as file:
            table = list(csv.DictReader(file))
        assert [int(row["image"]) for row in table] == list(range(16))
        assert [row["label"] == row["label (predicted)"] for row in table] == right.tolist()
        assert float(table[3]["b (probability)"]) == pytest.approx(found.outputs[3, 1], abs=1e-5)

    def test_has_a_page_and_a_card(self, run):
        _, out, found = run
        write_folds_report(found, out)
        page, card = ((out / name).read_text() for name in ("report.html", "README.md"))
        assert sections(page) == ["Folds", "Use the model", "Settings"]
        for text in (page, card):
            assert f"ccuracy {found.measures['accuracy']:.4g} out of fold" in text.replace("\xa0", " ")
            assert "mean of the networks of 2 folds" in text

    def test_is_not_mixed_with_others(self, run):
        task, out, _ = run
        for folds, message in ((3, "folds was 2 and is 3"), (2, "fold-1 holds a training: go on with it by --resume")):
            with pytest.raises(ValueError, match=message):
                train_folds(task, folds, out)

    def test_a_plan_counts_all_folds(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(plan, "_measure", lambda *args: (10.0, 1.0, 2, lambda step: 0.1))
        assert "0 min 42 s in all, without validation: 2 folds of 0 min 21 s" in plan.make_plan(
            run[0], tmp_path, folds=2
        )


class Stopping(SmallTask):
    """Sends the signal of Ctrl-C when the second fold begins."""

    def build(self, stage, steps):
        assert self.command["fold"] == "2 of 2"
        signal.raise_signal(signal.SIGINT)
        return super().build(stage, steps)


def test_a_stopped_training_goes_on_in_its_fold(run, tmp_path):
    """To the same bits, and without what is finished."""
    task, whole, found = run
    for name in ("run.json", "fold-1"):
        (shutil.copytree if name == "fold-1" else shutil.copyfile)(whole / name, tmp_path / name)
    stopping = Stopping(**{field.name: getattr(task, field.name) for field in dataclasses.fields(task)})
    with pytest.raises(
        Interrupted, match=r"^fold 2 of 2: Stopped after step 1 of stage 1; .* --resume goes on"
    ) as error:
        train_folds(stopping, 2, tmp_path, resume=True)
    assert error.value.number == signal.SIGINT
    assert not (tmp_path / "model.keras").exists()
    resumed = train_folds(task, 2, tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.outputs, found.outputs)
    for name in ("folds.csv", "out_of_fold.csv"):
        assert (tmp_path / name).read_text() == (whole / name).read_text()
    last = "fold-2/checkpoint-0-00000002.npz"
    with np.load(whole / last) as expected, np.load(tmp_path / last) as arrays:
        for name in set(expected.files) - {"state"}:
            np.testing.assert_array_equal(arrays[name], expected[name], err_msg=name)


def test_image_files_are_evaluated_out_of_fold(tmp_path):
    data = files_task(tmp_path / "images").data.undivided()
    task = dataclasses.replace(small_task(), data=data)
    outputs = np.eye(2, dtype=np.float32)[data.targets.values]
    outputs[0] = [0.2, 0.8]
    best = [{"epoch": 1, "val_accuracy": 1.0}, {"epoch": 2, "val_accuracy": 0.875}]
    found = CrossValidation(task, [task, task], best, data.training, np.arange(16) % 2 + 1, outputs)
    (tmp_path / "run.json").write_text(json.dumps({"recipe": {}, "folds": 2}))
    write_folds_report(found, tmp_path)
    found.write(tmp_path)
    data.write_parts(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert {"Folds", "Measures", "The worst mistakes", "Confusions"} <= set(sections(page))
    assert "93.8% of 16 images are right, out of fold." in page
    assert "Without heat maps: each fold has another network." in page
    with (tmp_path / "out_of_fold.csv").open() as file:
        assert [row["path"] for row in csv.DictReader(file)] == [str(entry.path.absolute()) for entry in data.entries]
    assert not (tmp_path / "validation.csv").exists()
    with pytest.raises(ValueError, match=r"pass the model of a fold, such as .*fold-1, for its part validation"):
        select_rows([data.entries[0].path], tmp_path, "validation")
    assert "out_of_fold.csv beside it has predictions" in select_rows([data.entries[0].path], tmp_path, None)[1][0]


@pytest.mark.parametrize(
    ("targets", "outputs", "score"),
    [
        (Labels(["a", "b"], np.array([[1, 0], [0, 1], [1, 1]], bool)), [[0.9, 0.2], [0.4, 0.7], [0.8, 0.3]], 1.0),
        (Values(["size"], np.array([[10.0], [20.0], [60.0]])), [[10.0], [20.0], [60.0]], 1.0),
        (Ordinal(["low", "mid", "high"], np.array([0, 1, 2])), np.roll(np.eye(3), 1, axis=1) * 0.7 + 0.1, 4 / 3),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)  # fmt: skip
def test_outputs_of_each_kind_are_measured(targets, outputs, score, tmp_path):
    data = Data("three", np.zeros((3, 8, 8, 3), np.uint8), targets, np.arange(3), np.arange(0))
    task = dataclasses.replace(small_task(), data=data)
    best = [{"epoch": 1, f"val_{task.objective.score}": 0.5}] * 2
    found = CrossValidation(task, [task, task], best, np.arange(3), np.array([1, 2, 1]), np.float32(outputs))
    assert found.measures[found.score] == pytest.approx(score)
    found.write(tmp_path)
    with (tmp_path / "out_of_fold.csv").open() as file:
        rows = list(csv.reader(file))
    expected = {
        "labels": ["2", "1", "a|b", "a|b", "0.8", "0.3"],
        "values": ["2", "1", "60", "60"],
        "ordinal": ["2", "1", "high", "low", "0.8", "0.1", "0.1"],
    }[targets.kind]
    assert rows[-1] == expected
    assert (found.thresholds is not None) == (targets.kind == "labels")


@pytest.mark.slow
def test_networks_of_two_sizes_become_one_model(tmp_path):
    """Its images are the larger ones. It says how they are prepared, is explained as a whole, and is no weights."""
    small = dataclasses.replace(get_variant("lite0"), name="small", width=0.25, blocks=tiny_blocks("lite0"))
    networks = [
        create(small, weights=None, input_shape=(size, size, 3), classes=3, include_preprocessing=True)
        for size in (48, 32)
    ]
    model = average_models(networks)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3)).astype(np.float32)
    smaller = keras.ops.convert_to_numpy(keras.layers.Resizing(32, 32)(pixels))
    expected = (networks[0].predict_on_batch(pixels) + networks[1].predict_on_batch(smaller)) / 2
    np.testing.assert_allclose(model.predict_on_batch(pixels), expected, atol=1e-6)
    with inference.compile(model, cache=False) as predictor:
        np.testing.assert_allclose(predictor.predict(pixels), expected, atol=1e-5)
    both, first, second = (
        explain(model, pixels[0], class_index=1, crop=1.0, layer=layer)[0] for layer in (None, "fold_1", "fold_2")
    )
    assert both.score == pytest.approx(expected[0, 1], abs=1e-6)
    for one in (first, second):
        assert np.abs(both.heat_map - one.heat_map).max() > 0.01
    model.save(tmp_path / "model.keras")
    with pytest.raises(CheckpointError, match="holds several networks"):
        read_checkpoint(tmp_path / "model.keras", small)
