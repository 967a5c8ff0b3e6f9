"""Weights that cannot be computed with are refused, with the layer's name, wherever they come from."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from efficientnet import get_variant, save_variant
from efficientnet.checkpoints.soundness import check_array
from efficientnet.cli.main import main
from efficientnet.export.convert import convert_weights
from efficientnet.inference import compile

keras = pytest.importorskip("keras")


SMALL = dataclasses.replace(
    get_variant("b0"), name="small", width=0.25, resolution=32, blocks=get_variant("b0").blocks[:1]
)


@pytest.fixture(scope="module")
def model():
    from efficientnet.keras import create

    return create(SMALL, weights=None, classes=3)


@pytest.fixture(params=[np.nan, -1.0])
def damaged(request, model):
    """The model with one bad number in a variance, and what a refusal says."""
    weights = model.get_weights()
    variance = model.get_layer("stem_bn").moving_variance
    before = np.array(variance)
    values = before.copy()
    values[1] = request.param
    variance.assign(values)
    yield model, "stem_bn/moving_variance has " + ("negative" if request.param == -1 else "NaN or infinite")
    model.set_weights(weights)


def test_a_model_is_not_compiled(damaged):
    model, message = damaged
    with pytest.raises(ValueError, match=message):
        compile(model, cache=False)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["net.weights.h5", "net.safetensors"])
def test_a_file_is_not_read(damaged, target, tmp_path):
    from efficientnet.keras import create

    model, message = damaged
    model.save_weights(tmp_path / "net.weights.h5")
    path = tmp_path / "net.weights.h5"
    with pytest.raises(ValueError, match=message) as error:
        create(SMALL, weights=path, classes=3)
    assert str(path) in str(error.value)
    with pytest.raises(ValueError, match=message):
        convert_weights(path, tmp_path / ("other." + target.partition(".")[2]), variant=SMALL)


def test_inspect_says_so(damaged, tmp_path, capsys):
    model, message = damaged
    model.save_weights(tmp_path / "a\x1b[2J.weights.h5")
    save_variant(SMALL, tmp_path / "small.json")
    assert main(["inspect", str(tmp_path / "a\x1b[2J.weights.h5"), "--variant", str(tmp_path / "small.json")]) == 1
    printed = capsys.readouterr().out
    assert message in printed
    assert "a\\x1b[2J.weights.h5" in printed
    assert "\x1b" not in printed


@pytest.mark.slow
def test_a_damaged_model_is_reported_once(damaged, tmp_path, capsys, caplog):
    model, message = damaged
    model.save(tmp_path / "net.keras")
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path / "a.png"), "--model", str(tmp_path / "net.keras")]) == 2
    assert f"net.keras: {message}" in capsys.readouterr().err
    assert not any("cannot run this model" in message for message in caplog.messages)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(number):
    with pytest.raises(ValueError, match=r"net\.h5: stem_conv/kernel has NaN or infinite numbers"):
        check_array("stem_conv/kernel", np.array([1.0, number, 2.0], "f4"), "net.h5")


@pytest.mark.parametrize(
    "array", [np.array([-1.0, 2.0]), np.array([], "f4"), np.array([1, 2]), np.array(65504.0, "f2")]
)
def test_ordinary_numbers_pass(array):
    check_array("stem_conv/kernel", array, "net.h5")


def test_the_sum_of_large_numbers_is_none_of_its_business():
    check_array("probs/kernel", np.array([-3e38, 3e38], "f4"), "net.h5")
