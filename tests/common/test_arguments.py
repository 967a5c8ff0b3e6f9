"""Wrong arguments and wrong calls: each is refused by its name, with what is accepted, before any work."""

import inspect
import json
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from efficientnet import cleaning, design, evaluation, export, keras, similarity
from efficientnet.cli import main
from efficientnet.design import timing
from efficientnet.explain import explain, overlay
from efficientnet.export import convert
from efficientnet.family import compound, costs, scaling
from efficientnet.family.variants import BlockArgs, Variant
from efficientnet.inference import compile
from efficientnet.keras_graph import profile
from efficientnet.keras_graph.marks import model_preprocessing
from efficientnet.preprocessing import center_crop_and_resize

TINY = Variant("tiny", 0.25, 0.3, 32, 0.1, (BlockArgs(3, 1, 32, 16),))


@pytest.fixture(scope="module")
def model():
    return keras.create(TINY, weights=None, classes=3)


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("classes", ["5", 5.5, 5.0, True, 0, -1, float("nan"), [5]]),
        ("pooling", [1, ["avg"], "mean"]),
        ("weights", [123, b"x", True, "", ["imagenet"]]),
        ("dropout_rate", ["a", float("nan"), 2, True, [0.1]]),
        ("drop_connect_rate", [2, None, "a"]),
        ("padding", ["vaild", 1, ["same"]]),
        ("batch_norm_epsilon", [-1, 0, "x", float("nan"), float("inf"), True]),
        ("classifier_activation", ["softmx", 1]),
        ("name", [5, "", "a/b"]),
        ("include_top", ["no", None]),
        ("include_preprocessing", ["no"]),
        ("features_only", ["yes"]),
        ("input_shape", [224, "224", (64, 64, 0), (64, 64, -3), (64.5, 64, 3)]),
        ("input_tensor", [np.zeros((1, 32, 32, 3))]),
    ],
)
def test_options_of_networks(option, wrong):
    for value in wrong:
        with pytest.raises((ValueError, TypeError), match=rf"^{option}.*(expected|has to be|at least)"):
            keras.create(TINY, **{"weights": None, option: value})


def test_scaling_that_is_none():
    for value in ("touch", 1, (1, 2)):
        with pytest.raises(ValueError, match=r"mode=.*: expected one of 'torch'"):
            keras.create(TINY, weights=None, preprocessing=value)


def test_misspelt_option():
    with pytest.raises(TypeError, match=r"no option 'clases': did you mean 'classes'\?"):
        keras.EfficientNetB0(weights=None, clases=5)


def test_numbers_of_numpy_are_numbers():
    built = keras.create(TINY, weights=None, classes=np.int64(4), dropout_rate=np.float32(0.5), include_top=np.True_)
    assert built.output_shape == (None, 4)


@pytest.mark.parametrize("value", [5, None, b"b0", keras.EfficientNetB0])
def test_variants_are_named(value):
    with pytest.raises(TypeError, match=r"^variant=.*expected the name of a variant"):
        keras.create(value)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [({"dropout_rate": "a"}, "dropout_rate='a'"), ({"width": "1"}, "width='1'"), ({"name": 5}, "name=5"),
     ({"blocks": ({},)}, "block {}")],
)  # fmt: skip
def test_custom_variants(fields, problem):
    with pytest.raises((ValueError, TypeError), match=f"{problem}: expected"):
        Variant(**{"name": "x", "width": 1, "depth": 1, "resolution": 64, "dropout_rate": 0.1, "blocks": TINY.blocks,
                   **fields})  # fmt: skip


@pytest.mark.parametrize(
    ("options", "kind", "problem"),
    [
        ({"batch_size": "x"}, ValueError, "batch_size='x': expected"),
        ({"threads": 1.5}, ValueError, "threads=1.5: expected"),
        ({"crop": "x"}, ValueError, "crop='x': expected"),
        ({"interpolation": "bicubc"}, ValueError, "interpolation='bicubc': expected"),
        ({"class_names": "abc"}, TypeError, "class_names is of type str"),
        ({"class_names": {0: "a", 1: "b", 2: "c"}}, TypeError, "class_names is of type dict"),
        ({"calibration": "folder"}, TypeError, "calibration='folder': expected"),
    ],
)
def test_options_of_compile(model, options, kind, problem):
    with pytest.raises(kind, match=problem):
        compile(model, **options)


def test_compile_takes_no_name_of_a_variant():
    with pytest.raises(FileNotFoundError, match=r"name of a variant: build efficientnet-lite0 with .*create"):
        compile("lite0")
    with pytest.raises(FileNotFoundError, match="Did you mean efficientnet-lite0"):
        compile("lite00")


def test_what_is_no_model_or_path():
    with pytest.raises(TypeError, match=r"^path is 5: expected"):
        keras.load_model(5)
    with pytest.raises(TypeError, match="model=5: expected a Keras model"):
        model_preprocessing(5)
    with pytest.raises(ValueError, match="image_size='a': expected"):
        center_crop_and_resize(np.zeros((4, 4, 3)), "a")


def test_wrong_options_of_load_model(model, tmp_path):
    model.save(tmp_path / "model.keras")
    with pytest.raises(TypeError, match="unexpected keyword argument 'zzz'"):
        keras.load_model(tmp_path / "model.keras", zzz=1)
    with pytest.raises(TypeError, match="custom_objects=5: expected a dictionary"):
        keras.load_model(tmp_path / "model.keras", custom_objects=5)


def test_model_of_a_package_that_is_not_installed(model, tmp_path):
    model.save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras") as source, zipfile.ZipFile(tmp_path / "hub.keras", "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                content = json.dumps({**json.loads(content), "module": "a_hub.models", "registered_name": "a_hub>Task"})
            target.writestr(name, content)
    with pytest.raises(ValueError, match=r"package a_hub, which cannot be imported.*weights=") as raised:
        keras.load_model(tmp_path / "hub.keras")
    assert "damaged" not in str(raised.value)


def test_folder_of_a_training_stands_for_its_model(model, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has not written model.keras yet: .*--resume"):
        keras.load_model(tmp_path)
    model.save(tmp_path / "model.keras")
    assert keras.load_model(tmp_path).name == "tiny"


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nested" / "deeper").mkdir(parents=True)
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "nested" / "deeper" / "panda.jpg")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").touch()
    (tmp_path / "note.txt").write_text("hello")


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("predict x.jpg --model weights", "--model VARIANT --weights"),
        ("export weights x.onnx --format onnx", "--model VARIANT --weights"),
        ("profile weights", "--model VARIANT --weights"),
        ("predict x.jpg --model note.txt", "It is a file"),
        ("predict x.jpg --weights imagnet", "Did you mean 'imagenet'"),
        ("predict x.jpg --epsilon x", "'x' is not a number"),
        ("predict x.jpg --timeout x", "is not a number of seconds"),
        ("predict x.jpg --threshold x", "'x' is not a number"),
        ("predict x.jpg --batch-size x", "'x' is not a whole number"),
        ("export lite0 x.onnx --format onnx --batch x", "'x' is not a whole number"),
        ("predict x.jpg --precision int8 --calibrate nowhere", "there is no such folder"),
        ("predict x.jpg --classes nowhere.txt", "nowhere.txt: No such file"),
    ],
)
def test_wrong_calls_of_commands(places, capsys, caplog, call, problem):
    try:
        status = main.main(call.split())
    except SystemExit as end:  # argparse's way
        status = end.code
    error = capsys.readouterr().err
    assert status == 2
    assert problem in error.splitlines()[-1]
    assert "Traceback" not in error
    assert "slower engine" not in caplog.text  # it is not the engines that cannot


def test_custom_layer(tmp_path, capsys):
    class Own(keras.FRAMEWORK.layers.Layer):
        def call(self, x):
            return x

    image = keras.FRAMEWORK.layers.Input((32, 32, 3))
    for suffix in ("keras", "h5"):
        path = tmp_path / f"own.{suffix}"
        keras.FRAMEWORK.models.Model(image, Own()(image)).save(path)
        assert main.main(["profile", str(path)]) == 2
        assert "layer of class Own, which is not one of Keras' own" in capsys.readouterr().err


@pytest.mark.slow
def test_images_in_folders_of_a_folder_only(places, model, tmp_path, capsys):
    model.save(tmp_path / "model.keras")
    call = ["predict", "nested", "--model", "model.keras", "--preprocessing", "none"]
    assert main.main(call) == 1
    assert "add --recursive" in capsys.readouterr().err
    assert main.main([*call, "--recursive"]) == 0
    assert "panda.jpg" in capsys.readouterr().out


def test_missing_engine(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"pip install 'efficientnet\[openvino\]>=2'"):
        compile(model, "openvino")


VECTORS = [  # none that can be compared: no numbers, no rows, of different lengths, NaN, infinite, gone after one use
    None, 5, "x", ["a", "b"], [[[1]]], [[1, 2], [3]], [[1, np.nan], [2, 3]], [[1, 2], [np.inf, 3]],
    (row for row in np.eye(2)),
]  # fmt: skip
OUTCOMES = evaluation.score([[0.2, 0.8], [0.6, 0.4]], [1, 1])
BASELINE = design.get_baseline(TINY)
PUBLIC = {
    export.export: {"path": [None, 5, []], "format": [None, []], "precision": [5], "batch": ["x", 0, True, 1.5],
                    "raw_pixels": ["no", None], "input_type": [{}], "calibration": [None, 5, "folder"]},
    export.read_metadata: {"path": [None, 5, []]},
    explain: {"model": [None, 5], "images": [None, 5], "method": [None, "cam"], "class_index": ["x", -1, 9, 0.5],
              "layer": ["x", 5]},
    overlay: {"explanation": [None, "x", np.zeros((2, 2)), *(np.full((8, 8), level) for level in (np.nan, 5, -1))]},
    evaluation.evaluate_predictor: {"predictor": [None, "b0"]},
    evaluation.score: {"probabilities": [None, "x", [], float("nan"), [[1], [1, 2]]], "labels": [None, "x", [5]]},
    evaluation.join: {"parts": [None, 5, [], [5]]},
    evaluation.confusions: {"outcomes": [None, []]},
    evaluation.confusion_matrix: {"outcomes": [None], "chosen": ["x", [5], [0.5], 5]},
    evaluation.measure: {"outcomes": [None, [], float("nan")]},
    evaluation.per_class: {"outcomes": [None, []]},
    evaluation.top_k: {"outcomes": [None], "k": [None, "x", 0, float("nan")]},
    evaluation.wilson: {"successes": [None, "x", -1], "total": [None, 0, float("nan"), []]},
    evaluation.average_precision: {"scores": ["x", None, []], "truth": [None, [5, 0]]},
    evaluation.calibrate: {"outcomes": [None], "equal": ["height", None, []], "bins": [0, "x"]},
    evaluation.find_samples: {"data": [None, 5, []]},
    evaluation.find_tagged: {"data": [None, 5], "classes": [None, 5, [5], [("a",)]]},
    evaluation.match_classes: {"labels": [None, 5, "x", [5]], "classes": [None, "x", [5]]},
    keras.list_variants: {"pattern": [5, b"b0", ["b0"]]},
    profile.profile: {"model": [None, 5], "batch_size": [None, "x", 0, 1.5], "input_shape": [5, "x", []]},
    profile.measure: {"repeats": [None, "x", 0, float("nan")], "threads": ["x", 0, 1.5, float("nan")]},
    profile.block_of: {"layer": [None, 5, []]},
    compound.Coefficients: {"alpha": [None, "x", 0.5, float("nan")], "beta": [[]]},
    compound.cost_factor: {"coefficients": [None, (1, 1, 1)], "phi": [None, "x", float("nan")]},
    compound.candidates: {"target": [None, "x", 1], "tolerance": [None, "x", 1], "steps": [None, 0, float("nan")]},
    compound.efficiency: {"accuracy": [None, 2], "cost": ["x", 0], "target": [None], "w": ["x", float("nan")]},
    scaling.scale_resolution: {"resolution": [None, 0, 1.5], "factor": ["x", 0, float("nan")]},
    scaling.scale: {"variant": [None, 5, []], "factors": [None, 2, (1, 1, 1)]},
    scaling.round_filters: {"filters": [None, "x", float("nan")], "depth_divisor": [0], "limit_loss": ["no"]},
    scaling.round_repeats: {"repeats": [None, "x", 0], "depth_coefficient": ["x", float("nan")]},
    scaling.stem_filters: {"variant": [None, 5]},
    scaling.scale_blocks: {"variant": [None, []]},
    costs.cost: {"variant": [None, 5], "resolution": ["x", 0, 1.5], "classes": ["x", 0, float("nan")]},
    convert.read_weights: {"path": [None, 5, []], "variant": [5]},
    convert.convert_weights: {"source": [None, 5], "target": [None, 5, []], "names": [None, [], "tim"],
                              "padding": ["vaild", 5],
                      "batch_norm_epsilon": ["x", 0, float("nan")], "class_names": ["abc", 5, [5]]},
    convert.open_model: {"reading": [None, "x"]},
    convert.largest_difference: {"model": [None, 5], "seed": ["x", -1, 1.5]},
    design.Baseline.from_variant: {"variant": [None, 5], "classes": ["x", 0]},
    design.Baseline.from_function: {"function": [None, 5]},
    BASELINE.cost: {"factors": [None, 2]},
    BASELINE.build: {"factors": [None], "classes": ["x", 0]},
    design.fit_budget: {"baseline": [None, "b0"], "rule": [5], "macs": ["x", 0, float("nan")],
                        "latency": [5, design.LatencyModel(timing.Timed(), {}, 0.0)]},
    design.at_equal_cost: {"ways": [None, {}, {"width": 5}], "macs": ["x", float("nan")], "samples": [0, "x"]},
    design.find_fastest: {"baseline": [None, "b0"], "macs": ["x", 1e6, float("nan")], "finalists": [0, "x"],
                          "latency": [None, 5]},
    design.latency_model: {"engine": ["other"], "threads": [0, "x"], "precision": ["f8"], "networks": [4, "x"]},
    cleaning.find_issues: {"data": [None, "folder"]},
    cleaning.find_label_issues: {"features": VECTORS, "labels": [[0], [[0], [1, 2]], None], "groups": ["x", [0]],
                                 "folds": [1, "3"], "seed": [-1, "x"]},
    cleaning.find_near_duplicates: {"features": VECTORS, "labels": [[0], None], "parts": [[0], "x"],
                                    "similarity": [0, "x", float("nan")]},
    cleaning.find_outliers: {"features": VECTORS, "seed": [-1, "x"]},
    similarity.embed: {"folder": [None, 5], "out": [None, b"x"], "network": [None, "lite0"], "format": [None, "csv"]},
    similarity.find_duplicates: {"vectors": VECTORS, "similarity": [0, 2, "x"]},
    similarity.find_similar: {"vectors": VECTORS, "queries": [*VECTORS, [[1]]], "k": [0, 1.0, "3"]},
    similarity.network_of: {"weights": [5, ""], "size": [0, -1, 64.5, "64"],
                            "crop": [0, 2, -1, float("nan"), "x"]},
    similarity.Embeddings.read: {"folder": [None, 5, ""]},
    similarity.ExampleClassifier.fit: {"vectors": VECTORS, "labels": [[0], [0, 2], [0, -1], [0.0, 1.0], ["a", "b"]],
                                       "classes": [None, "ab", [1, 2]]},
    similarity.FeatureNetwork.of_settings: {"settings": [None, "lite0", {}, {"model": "lite0", "x": 1}]},
    design.growths: {"coefficients": [None, 5]},
    design.ShortTraining: {"epochs": [None, "x", 1.5, float("nan")], "learning_rate": ["x", 1], "flip": ["no", None]},
    design.load_results: {"path": [None, 0, []]},
    design.write_report: {"folder": [None, 5]},
    design.pareto_front: {"found": [None, 5, [5]]},
    design.search: {"baseline": [None, "b0"], "data": [None, []]},
    design.compare: {"data": [None, "folder"]},
    design.search_architecture: {"baseline": [None], "trials": [0, "x"], "folder": [None], "data": [None],
                                 "budgets": [5, {"x": 1}, {"macs": 0}], "changes": [5, ["x"]], "cost": ["x"],
                                 "latency": [5]},
}  # fmt: skip


def rightly(model, folder):
    """For each argument in PUBLIC that has to be given, a right value."""
    return {
        export.export: {"model": model, "path": "a.onnx", "format": "onnx"},
        explain: {"images": [np.zeros((8, 8, 3), np.uint8)], "preprocessing": "none"},
        overlay: {"image": np.zeros((8, 8, 3), np.uint8), "explanation": np.zeros((8, 8))},
        evaluation.evaluate_predictor: {"data": folder},
        evaluation.score: {"probabilities": [[0.2, 0.8]], "labels": [1]},
        evaluation.average_precision: {"scores": [0.1, 0.9], "truth": [True, False]},
        evaluation.calibrate: {"equal": "width"}, evaluation.top_k: {"k": 1},
        evaluation.wilson: {"successes": 1, "total": 2},
        evaluation.find_tagged: {"data": folder, "classes": [("a", "a")]},
        evaluation.match_classes: {"labels": ["a"], "classes": [("a", "a")]},
        compound.Coefficients: {"alpha": 1.1, "beta": 1.1, "gamma": 1.1},
        compound.efficiency: {"accuracy": 0.5, "cost": 1, "target": 1},
        compound.cost_factor: {"coefficients": compound.PAPER_COEFFICIENTS},
        scaling.scale_resolution: {"resolution": 32, "factor": 1}, scaling.scale: {"factors": scaling.Factors()},
        scaling.round_filters: {"filters": 8, "width_coefficient": 1},
        scaling.round_repeats: {"repeats": 1, "depth_coefficient": 1},
        cleaning.find_label_issues: {"features": np.eye(2), "labels": [0, 1]},
        cleaning.find_outliers: {"features": np.eye(2)},
        cleaning.find_near_duplicates: {"features": np.eye(2), "labels": [0, 1], "parts": [0, 0]},
        similarity.embed: {"folder": folder, "out": folder, "network": similarity.network_of("lite0")},
        similarity.network_of: {"model": "lite0"}, similarity.find_duplicates: {"vectors": np.eye(2)},
        similarity.find_similar: {"vectors": np.eye(2), "queries": np.eye(2)},
        similarity.ExampleClassifier.fit: {"vectors": np.eye(2), "labels": [0, 1], "classes": ["a", "b"]},
        convert.read_weights: {"path": "a.keras"}, convert.convert_weights: {"source": "a.keras", "target": "b.keras"},
        convert.largest_difference: {"other": model}, BASELINE.build: {"factors": scaling.Factors()},
        design.at_equal_cost: {"ways": design.growths(), "macs": 1e6}, design.fit_budget: {"macs": 1e6},
        design.find_fastest: {"macs": 1e12, "latency": design.LatencyModel(timing.Timed(), {}, 0.0)},
        design.search: {"data": None, "folder": "a"}, design.compare: {"data": None, "folder": "a", "budgets": [1e6]},
        design.search_architecture: {"data": None, "folder": "a"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "argument"), [(one, name) for one, named in PUBLIC.items() for name in named],
    ids=lambda part: getattr(part, "__qualname__", part),
)  # fmt: skip
def test_public_functions(model, tmp_path, function, argument):
    common = {"model": model, "outcomes": OUTCOMES, "variant": TINY, "baseline": BASELINE}
    if function is design.search_architecture:
        common["baseline"] = TINY
    takes = inspect.signature(function).parameters
    given = {name: value for name, value in common.items() if name in takes} | rightly(model, tmp_path).get(
        function, {}
    )
    if function is evaluation.evaluate_predictor:
        del given["model"]
    for wrong in PUBLIC[function][argument]:
        with pytest.raises((ValueError, TypeError), match=r"(?i)expected|has to be") as raised:
            function(**{**given, argument: wrong})
        named = "graph of layers" if argument == "model" else "variant" if isinstance(wrong, Variant) else argument
        assert named in str(raised.value) or argument == "baseline", str(raised.value)
