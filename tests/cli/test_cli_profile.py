"""The command `efficientnet profile`."""

import json

import pytest

pytest.importorskip("keras")

from efficientnet import get_variant, save_variant
from efficientnet.cli.main import main
from efficientnet.family import costs, scaling
from efficientnet.keras_files.opening import is_saved_model


@pytest.mark.slow
def test_a_table_by_block(capsys):
    assert main(["profile", "lite0", "--size", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cost = costs.cost(get_variant("lite0"), resolution=64)
    assert lines[0].split("|")[3].strip() == "parameters"
    assert f"{cost.parameters:,}" in lines[-1]
    assert f"{cost.macs:,}" in lines[-1]
    assert [line.split()[1] for line in lines[2:5]] == ["stem", "block1a", "block2a"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.slow
def test_a_variants_name_wins_over_a_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lite0").mkdir()
    assert main(["profile", "lite0", "--size", "32"]) == 0
    assert "lite0 is taken for the variant; ./lite0 is the folder" in capsys.readouterr().err
    assert is_saved_model("./lite0") and not is_saved_model("lite0") and not is_saved_model("EfficientNet-Lite0")
    assert main(["profile", "./lite0"]) == 2
    assert "folder" in capsys.readouterr().err


@pytest.mark.slow
def test_every_layer_with_its_time(capsys):
    pytest.importorskip("openvino")
    assert main(["profile", "lite0", "--size", "32", "--layers", "--measure"]) == 0
    out = capsys.readouterr().out
    assert "milliseconds" in out
    assert "| stem_conv " in out
    assert "| input and output " in out


@pytest.mark.slow
def test_json_of_a_variant_in_a_file(tmp_path, capsys):
    save_variant(scaling.scale(get_variant("lite0"), scaling.Factors(width=1.1), "mine"), tmp_path / "mine.json")
    assert main(["profile", str(tmp_path / "mine.json"), "--json", "--size", "32"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "mine"
    assert found["macs"] == sum(layer["macs"] for layer in found["layers"])


def test_a_saved_model_with_a_layer_of_unknown_cost(tmp_path, capsys):
    import keras

    inputs = keras.Input((8, 4))
    outputs = keras.layers.Dense(2)(keras.layers.MultiHeadAttention(2, 2, name="attention")(inputs, inputs))
    keras.Model(inputs, outputs).save(tmp_path / "mine.keras")
    assert main(["profile", str(tmp_path / "mine.keras")]) == 0
    captured = capsys.readouterr()
    assert "unknown and not counted: attention (MultiHeadAttention)" in captured.err
    assert "unknown" in captured.out


def test_what_cannot_be_profiled(tmp_path, capsys):
    assert main(["profile", "resnet-34"]) == 2
    assert "Unknown variant" in capsys.readouterr().err
    assert main(["profile", str(tmp_path / "missing.keras")]) == 2
    assert "No model at" in capsys.readouterr().err
    assert main(["profile", "b0", "--size", "16"]) == 2
    assert "at least 32 pixels" in capsys.readouterr().err


def test_a_model_of_any_size_needs_the_size(tmp_path, capsys):
    import keras

    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)).save(tmp_path / "any.keras")
    assert main(["profile", str(tmp_path / "any.keras")]) == 2
    assert "takes images of any size: give --size" in capsys.readouterr().err
    assert main(["profile", str(tmp_path / "any.keras"), "--size", "8"]) == 0


def test_the_size_of_images_with_channels_first_and_of_several_inputs(tmp_path, capsys):
    import keras

    first = keras.Input((3, None, None))
    convolved = keras.layers.Conv2D(2, 3, data_format="channels_first")(first)
    keras.Model(first, convolved).save(tmp_path / "first.keras")
    assert main(["profile", str(tmp_path / "first.keras"), "--size", "8"]) == 0
    assert "2 × 6 × 6" in capsys.readouterr().out  # 8 - 2
    inputs = [keras.Input((None, None, 3)), keras.Input((None, None, 1)), keras.Input((4,))]
    merged = [keras.layers.GlobalAveragePooling2D()(image) for image in inputs[:2]]
    outputs = keras.layers.Dense(2)(keras.layers.Concatenate()([*merged, inputs[2]]))
    keras.Model(inputs, outputs).save(tmp_path / "several.keras")
    assert main(["profile", str(tmp_path / "several.keras")]) == 2
    assert "takes images of any size: give --size" in capsys.readouterr().err
    assert main(["profile", str(tmp_path / "several.keras"), "--size", "8"]) == 0
    assert " 16 | 100.0% |" in capsys.readouterr().out  # (3 + 1 + 4) · 2
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "none.keras")
    assert main(["profile", str(tmp_path / "none.keras"), "--size", "8"]) == 2
    assert "takes no images, but [(4,)]: leave out --size" in capsys.readouterr().err
