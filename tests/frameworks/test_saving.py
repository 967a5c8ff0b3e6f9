"""What is saved opens with plain Keras, in a process that never heard of this package."""

import subprocess
import sys

import numpy as np
import pytest

from efficientnet.family.variants import V1_BLOCKS

OPEN = """
import sys
import numpy as np
{import_keras}
model = keras.models.load_model({path!r})
assert not any(name.startswith("efficientnet") for name in sys.modules)
x = np.load({folder!r} + "/x.npy")
np.save({folder!r} + "/y.npy", np.asarray(model.predict(x, verbose=0)))
"""


# The process that opens a model by plain Keras compiles it.
pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def model(tiny):
    return tiny(weights=None, classes=10, include_preprocessing=True)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model.keras", pytest.param("model.h5", marks=pytest.mark.once_per_keras)])
def test_a_saved_model_opens_without_this_package(eff, model, x, tmp_path, kind):
    model.save(tmp_path / kind)
    np.save(tmp_path / "x.npy", x)
    import_keras = "from tensorflow import keras" if eff.__name__.endswith("tfkeras") else "import keras"
    code = OPEN.format(import_keras=import_keras, path=str(tmp_path / kind), folder=str(tmp_path))
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.slow
def test_saved_model_folder(keras, backend, is_legacy, tiny, x, tmp_path):
    if backend != "tensorflow":
        pytest.skip("SavedModel is TensorFlow's format")
    import tensorflow as tf

    model = tiny(weights=None, blocks_args=V1_BLOCKS[:1], classes=10)  # each layer takes long to write
    if is_legacy:
        model.save(tmp_path / "saved")
        answer = keras.models.load_model(tmp_path / "saved").predict(x, verbose=0)
    else:
        model.export(tmp_path / "saved", verbose=False)
        loaded = tf.saved_model.load(str(tmp_path / "saved"))
        answer = loaded.serve(x)
    np.testing.assert_allclose(np.asarray(answer), model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.slow
def test_weights_round_trip(tiny, model, x, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    again = tiny(weights=tmp_path / "model.weights.h5", classes=10, include_preprocessing=True)
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_a_whole_saved_model_serves_as_weights(tiny, model, x, tmp_path):
    model.save(tmp_path / "model.h5")
    again = tiny(weights=tmp_path / "model.h5", classes=10, include_preprocessing=True)
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_weights_of_a_classifier_fill_a_body(tiny, model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    for options in ({"include_top": False}, {"features_only": True}):
        body = tiny(weights=tmp_path / "model.weights.h5", **options)
        np.testing.assert_array_equal(
            body.get_layer("block2b_project_conv").get_weights()[0],
            model.get_layer("block2b_project_conv").get_weights()[0],
        )


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_configuration_round_trip(keras, model, x):
    again = keras.models.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    initializer = again.get_layer("stem_conv").get_config()["kernel_initializer"]
    assert initializer["class_name"] == "VarianceScaling"
    assert initializer["config"]["distribution"] == "untruncated_normal"


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_clone_and_summary(keras, model, x, capsys):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(clone.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    model.summary()
    assert "stem_conv" in capsys.readouterr().out
