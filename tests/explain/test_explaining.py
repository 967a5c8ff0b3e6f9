"""Heat maps lie over the original image, and say what of it was not seen."""

import numpy as np
import pytest
from exported_models import write_onnx
from PIL import Image

from efficientnet.explain import Explanation, explain, overlay
from efficientnet.export import export
from efficientnet.inference import ModelSource, compile

keras = pytest.importorskip("keras")


@pytest.fixture(scope="module")
def model():
    """Sees class 0 in red, class 1 in green."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    dense = keras.layers.Dense(2, "softmax")
    outputs = dense(pooled)
    dense.set_weights([np.array([[1, 0], [0, 1], [0, 0]], "float32"), np.zeros(2, "float32")])
    return keras.Model(inputs, outputs)


@pytest.fixture
def wide():
    """(40, 80): red left of the middle, green at the right end, which the crop cuts off."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:40, 0], pixels[:, 70:, 1] = 200, 200
    return pixels


def test_the_crop_is_undone(model, wide):
    (red,) = explain(model, wide, class_index=0, crop=1.0)
    assert red.heat_map.shape == (40, 80)
    assert red.seen == (20, 0, 60, 40)
    assert red.heat_map[:, 22:37].min() > 0.9
    assert not red.heat_map[:, :20].any() and red.heat_map[:, 45:].max() < 0.1
    assert red.unseen == "50% of the image, which the crop cuts off (20 px at the left, 20 px at the right)"
    (green,) = explain(model, wide, class_index=1, crop=1.0)
    assert not green.heat_map.any()
    (square,) = explain(model, wide[:, 20:60], crop=1.0)
    assert not square.unseen
    (cropped,) = explain(model, wide[:, 20:60], crop=0.5)
    assert cropped.seen == (10, 10, 30, 30)


def test_images_of_all_kinds(model, wide, tmp_path):
    Image.fromarray(wide).save(tmp_path / "wide.png")
    sources = [wide, tmp_path / "wide.png", Image.fromarray(wide), (tmp_path / "wide.png").read_bytes(), wide / 1.0]
    found = explain(model, sources, class_index=[0, 0, 0, 0, 1])
    for one in found[1:4]:
        np.testing.assert_allclose(one.heat_map, found[0].heat_map, atol=1e-6)
    assert [one.label for one in found] == ["class_0"] * 4 + ["class_1"]
    assert explain(model, wide[..., 0], class_index=0)[0].heat_map.shape == (40, 80)  # grey
    with pytest.raises(ValueError, match="class_index has 1 classes for 2 images"):
        explain(model, [wide, wide], class_index=[0])


def test_a_model_whose_input_is_not_square():
    inputs = keras.Input((8, 16, 3))
    x = keras.layers.Conv2D(2, 1, name="conv")(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalMaxPooling2D()(x)))
    (found,) = explain(model, np.zeros((8, 16, 3), np.uint8))
    assert found.heat_map.shape == (8, 16) and not found.unseen
    with pytest.raises(ValueError, match="Pass arrays of the model's shape"):
        explain(model, np.zeros((8, 8, 3), np.uint8))


def test_channels_first():
    inputs = keras.Input((3, 8, 8))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    pooled = keras.layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    dense = keras.layers.Dense(2)
    model = keras.Model(inputs, dense(pooled))
    dense.set_weights([np.array([[1, 0], [0, 1], [0, 0]], "float32"), np.zeros(2, "float32")])
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[1, 2, 0] = 200
    for method in ("gradcam", "hirescam"):
        (found,) = explain(model, pixels, method, class_index=0, crop=1.0, interpolation="bilinear")
        np.testing.assert_allclose(found.heat_map, pixels[..., 0] / 200, atol=1e-6)
    assert np.argmax(explain(model, pixels, "occlusion", class_index=0, crop=1.0)[0].heat_map) == 8 + 2


def test_evidence_against_a_class_is_none_for_it_beside_it(model):
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[20:30, 20:30, 1] = 200
    inputs = keras.Input((8, 8, 3))
    dense = keras.layers.Dense(2)
    against = keras.Model(inputs, dense(keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))))
    dense.set_weights([np.array([[0, 0], [-1, 0], [0, 0]], "float32"), np.zeros(2, "float32")])
    assert not explain(against, pixels, class_index=0, crop=1.0)[0].heat_map.any()


def test_a_nearly_black_image_of_a_batch(model):
    batch = np.stack([np.full((8, 8, 3), level, np.float32) for level in (0.5, 200)])
    assert len(explain(model, batch)) == 2
    with pytest.raises(ValueError, match="which look like"):
        explain(model, batch[0])
    with pytest.raises(ValueError, match="which look like"):
        explain(model, batch / 255)
    with pytest.raises(ValueError, match="An image is an array"):
        explain(model, [np.zeros(5)])


def test_the_model_stays_unchanged(model, wide):
    config, weights = model.get_config(), model.get_weights()
    explain(model, wide)
    assert model.get_config() == config
    assert all((a == b).all() for a, b in zip(model.get_weights(), weights, strict=True))


def test_what_cannot_be_explained(model, wide):
    inputs = keras.Input((8, 8, 3))
    flat = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    maps = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    for wrong, problem in ((flat, "'flat' has no such layer.*: the method 'occlusion', which needs no layer"),
                           (maps, "returns no vector of scores")):  # fmt: skip
        wrong.name = "flat"
        with pytest.raises(ValueError, match=problem.replace("'flat'", "flat")):
            explain(wrong, wide, preprocessing="none")
    assert explain(flat, wide, "occlusion", preprocessing="none")[0].heat_map.shape == (40, 80)
    with pytest.raises(ValueError, match="has 2 classes: expected 0 to 1"):
        explain(model, wide, class_index=2)
    with pytest.raises(ValueError, match=r"layer='top': .* no such layer .*expected one such as rescaling"):
        explain(model, wide, layer="top")
    with pytest.raises(ValueError, match="occlusion looks at no layer"):
        explain(model, wide, "occlusion", layer="rescaling")
    with pytest.raises(ValueError, match="does not say how its pixels are scaled"):
        explain(flat, wide)


def test_a_compiled_model_is_explained_by_occlusion(model, wide, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "ours.onnx"
    export(ModelSource.of_model(model, crop=1.0, keep=False), path, "onnx")
    (wanted,) = explain(model, wide, "occlusion", class_index=0, crop=1.0)
    with compile(path) as predictor:
        (found,) = explain(predictor, wide, "occlusion", class_index=0)
        np.testing.assert_allclose(found.heat_map, wanted.heat_map, atol=1e-4)
        assert found.seen == wanted.seen and found.score == pytest.approx(wanted.score, abs=1e-6)
        for method in ("gradcam", "hirescam"):
            with pytest.raises(ValueError, match=rf"method='{method}': .* no layers .* 'occlusion' \(--method"):
                explain(predictor, wide, method)
        with pytest.raises(ValueError, match=r"crop=0\.5: a predictor prepares images by itself"):
            explain(predictor, wide, "occlusion", crop=0.5)
    with (
        compile(write_onnx(tmp_path / "theirs.onnx", ["n", 3, 32, 32])) as predictor,
        pytest.raises(ValueError, match="does not record how its pixels are scaled: compile it with preprocessing="),
    ):
        explain(predictor, wide, "occlusion")


def test_weights_that_are_nan(wide):
    inputs = keras.Input((8, 8, 3))
    dense = keras.layers.Dense(2)
    model = keras.Model(inputs, dense(keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))))
    dense.set_weights([np.full((3, 2), np.nan, "float32"), np.zeros(2, "float32")])
    with pytest.raises(ValueError, match="NaN"):
        explain(model, wide)


def test_an_overlay_is_colored_where_the_evidence_is(wide):
    heat_map = np.zeros((40, 80), np.float32)
    heat_map[:20] = 1
    drawn = np.asarray(overlay(wide, heat_map)).astype(int)
    assert drawn.shape == (40, 80, 3)
    assert (drawn[:20, :, 0] - drawn[:20, :, 2]).min() > 50
    assert (drawn[20:, :, 0] == drawn[20:, :, 2]).all()  # no evidence leaves a grey image
    dimmed = np.asarray(overlay(wide, Explanation(heat_map, (20, 0, 60, 40), 0, "red", 1.0))).astype(int)
    np.testing.assert_array_equal(dimmed[:, 20:60], drawn[:, 20:60])
    assert (dimmed[:, :20] != drawn[:, :20]).any()
    with pytest.raises(ValueError, match=r"shape \(40, 80\), the image is \(8, 8\)"):
        overlay(np.zeros((8, 8, 3), np.uint8), heat_map)


def test_an_overlay_of_any_form_of_the_image(model):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8)
    image[0, 0] = 255
    (found,) = explain(model, image)
    for given, same in (
        (image[..., :3].astype("u2") * 257, image[..., :3]),
        (image[..., :3].tolist(), image[..., :3]),
        (image, Image.fromarray(image)),
        (image[..., 0], image[..., :1].repeat(3, 2)),
    ):
        np.testing.assert_array_equal(np.asarray(overlay(given, found)), np.asarray(overlay(same, found)))
    with pytest.raises(ValueError, match=r"look like 0\.\.1"):
        overlay(image / 255, found)
    assert explain(model, [image] * 2, class_index=np.array(1))[1].class_index == 1
    with pytest.raises(ValueError, match="class_index='rose': expected the index"):
        explain(model, image, class_index="rose")
