"""A training on images of other numbers of channels than 3, and the use of its model."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from efficientnet import get_variant, save_variant
from efficientnet.cli.main import main
from efficientnet.datasets import load

pytest.importorskip("keras")


@pytest.fixture(params=[1, 4])
def channels(request):
    return request.param


@pytest.fixture
def folder(tmp_path, channels):
    """Images of two classes: grey photographs, or arrays whose last channel alone is another."""
    rng = np.random.default_rng(0)
    for label, level in (("dark", 40), ("light", 200)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(10):
            image = rng.integers(0, 256, (40, 36, channels), dtype=np.uint8)
            image[..., -1] = rng.normal(level, 5, (40, 36))
            path = tmp_path / "data" / label / str(index)
            if channels == 1:
                Image.fromarray(image[..., 0]).save(f"{path}.png")
            else:
                np.save(f"{path}.npy", image)
    return tmp_path / "data"


@pytest.mark.parametrize("whole", [False, True])
def test_data_of_a_folder(folder, channels, whole):
    data = load(folder, 0.5, 32, channels=channels, whole=whole)
    assert data.channels == data.resized(16).channels == data.subset(4, 2, 0).channels == channels
    levels = [data.pixels[row][..., -1].mean() for row in range(20)]
    assert np.array_equal(np.array(levels) > 120, data.targets.values == 1)


def test_batches_of_other_code(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 20, 20, channels), dtype=np.uint8)
    for source in (pixels, pixels.transpose(0, 3, 1, 2)):
        data = load([(source, np.arange(8) % 2)], 0.5, 20, channels=channels)
        np.testing.assert_array_equal(data.pixels, pixels)
    with pytest.raises(ValueError, match=rf"expected \(batch, height, width, {channels}\)"):
        load([(np.zeros((8, 20, 20, 7)), np.arange(8) % 2)], 0.5, 20, channels=channels)


def test_grey_sets_have_no_four_channels():
    pytest.importorskip("sklearn")
    assert load("digits", 0.2, 16, channels=1).pixels.shape[1:] == (16, 16, 1)
    with pytest.raises(ValueError, match="4 channels: these images are grey"):
        load("digits", 0.2, 16, channels=4)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly", "undrawn")
def test_from_images_to_predictions(folder, channels, tmp_path, capsys):
    variant = dataclasses.replace(
        get_variant("lite0"), name="small", width=0.25, blocks=get_variant("lite0").blocks[:2]
    )
    save_variant(variant, tmp_path / "small.json")
    options = [
        "--set", "head_epochs=0", "--set", "epoch_steps=0", "--epochs", "2", "--batch-size", "16", "--image-size", "32",
    ]  # fmt: skip
    command = ["train", folder, "--in-channels", channels, "--model", tmp_path / "small.json", "--weights", "none"]
    assert main([*map(str, command), *options, "--out", str(tmp_path / "run")]) == 0
    model = str(tmp_path / "run" / "model.keras")
    assert main(["predict", str(folder / "dark"), "--model", model, "--csv"]) == 0
    assert capsys.readouterr().out.count("dark/") == 20  # two classes of each
    pytest.importorskip("matplotlib")
    assert main(["evaluate", model, str(folder), "--out", str(tmp_path / "out")]) == 0
    from efficientnet.keras import load_model

    assert load_model(model).input_shape == (None, 32, 32, channels)
