"""Heat maps in the report of a comparison."""

import numpy as np
import pytest
from color_models import CORNERS, corners_image

from efficientnet.design.report import write_report
from efficientnet.design.results import Network, Results

pytest.importorskip("matplotlib")


@pytest.fixture
def keras():
    return pytest.importorskip("keras")


@pytest.fixture
def corners(keras):
    """Sees class 0 in red pixels and class 1 in green ones, and less of it in the blue."""

    def build(data_format="channels_last", activation_layer=False):
        shape = (8, 8, 3) if data_format == "channels_last" else (3, 8, 8)
        inputs = keras.Input(shape)
        x = keras.layers.Rescaling(1 / 255)(inputs)
        x = keras.layers.GlobalAveragePooling2D(data_format=data_format)(x)
        x = keras.layers.Dropout(0.5)(x)
        dense = keras.layers.Dense(2, None if activation_layer else "softmax")
        outputs = dense(x)
        if activation_layer:
            outputs = keras.layers.Activation("softmax")(outputs)
        dense.set_weights(CORNERS)
        return keras.Model(inputs, outputs)

    return build


@pytest.fixture
def image():
    return corners_image()


@pytest.fixture
def folder(tmp_path):
    networks = (Network("baseline", 1.0, 1.0, 8, 100, 1000, (0.6, 0.7)),)
    Results("compare", "tiny", {"name": "corners"}, {}, networks).save(tmp_path / "compare.json")
    return tmp_path


def save_images(folder, image, **changes):
    arrays = {"pixels": image[np.newaxis], "labels": np.array([0]), "classes": np.array(["red <b>", "green"])}
    np.savez(folder / "images.npz", **{**arrays, **changes})


def test_maps_of_the_models_in_the_folder(folder, keras, corners, image):
    save_images(folder, image, pixels=np.stack([image] * 9), labels=np.zeros(9, int))
    (folder / "models").mkdir()
    corners().save(folder / "models" / "baseline.keras")
    flat = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    flat.save(folder / "models" / "width.keras")
    (folder / "models" / "depth.keras").write_text("damaged")
    text = write_report(folder).read_text("utf-8")
    assert 'alt="6 held-out images, of red &lt;b&gt;, ' in text
    assert "on average: 2% for baseline." in text  # one of 64 pixels
    assert "No maps of width: " in text
    assert "No maps of depth: " in text
    assert (folder / "figures" / "activation-maps-dark.png").exists()


@pytest.mark.parametrize(
    "changes",
    [{"labels": np.array([2])}, {"labels": np.array([0, 1])}, {"pixels": np.zeros((1, 8, 8), np.uint8)},
     {"classes": np.array([object()])}],
)  # fmt: skip
def test_damaged_images(folder, image, changes):
    save_images(folder, image, **changes)
    (folder / "models").mkdir()
    (folder / "models" / "width.keras").touch()
    with pytest.raises(ValueError, match=r"images\.npz does not hold the images of a comparison"):
        write_report(folder)
    assert not (folder / "report.html").exists()
    (folder / "images.npz").unlink()
    assert "activation" not in write_report(folder).read_text("utf-8")
