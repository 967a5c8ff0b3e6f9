"""Every kind of layer and operation that has a form in ONNX outputs there, and in OpenVINO, as in Keras."""

import numpy as np
import pytest

from efficientnet.errors import UnsupportedLayerError
from efficientnet.keras_graph import onnx, openvino

keras = pytest.importorskip("keras")
pytest.importorskip("onnx")
layers, ops = keras.layers, keras.ops


def of_onnxruntime(model):
    ort = pytest.importorskip("onnxruntime")
    content = onnx.convert(model).SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def of_openvino(model):
    pytest.importorskip("openvino")
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.core().compile_model(openvino.convert(model), "CPU", options)
    return lambda *inputs: [compiled(list(inputs))[output] for output in compiled.outputs]


RUNTIMES = {"onnxruntime": of_onnxruntime, "openvino": of_openvino}


def normalization(**options):
    """As ``keras.applications`` has it."""
    return layers.Normalization(mean=[0.1, -0.2, 0.3, 0.4], variance=[1.0, 2.0, 0.5, 0.3], **options)


# Name -> what is done to an image of 9 x 8 pixels with 4 channels.
FORMS = {
    "conv": lambda x: layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x),
    "conv groups": lambda x: layers.Conv2D(6, 3, groups=2, dilation_rate=2)(x),
    "conv 1d": lambda x: layers.Conv1D(5, 3, padding="causal", dilation_rate=2)(layers.Reshape((72, 4))(x)),
    "conv 3d": lambda x: layers.Conv3D(2, 2, padding="same")(layers.Reshape((3, 3, 8, 4))(x)),
    "depthwise": lambda x: layers.DepthwiseConv2D((3, 2), depth_multiplier=2, strides=2, padding="same")(x),
    "depthwise 1d": lambda x: layers.DepthwiseConv1D(3, padding="same")(layers.Reshape((72, 4))(x)),
    "separable": lambda x: layers.SeparableConv2D(5, 3, strides=2, padding="same", depth_multiplier=2)(x),
    "separable 1d": lambda x: layers.SeparableConv1D(5, 3, activation="relu")(layers.Reshape((72, 4))(x)),
    "transposed": lambda x: layers.Conv2DTranspose(5, 3, strides=2, padding="same", activation="relu")(x),
    "transposed valid": lambda x: layers.Conv2DTranspose(5, (4, 2), strides=3, padding="valid")(x),
    "transposed even": lambda x: layers.Conv2DTranspose(5, 4, strides=2, padding="same", use_bias=False)(x),
    "transposed small": lambda x: layers.Conv2DTranspose(5, 2, strides=3, padding="same")(x),
    "transposed padded": lambda x: layers.Conv2DTranspose(5, 3, strides=2, padding="same", output_padding=0)(x),
    "transposed dilated": lambda x: layers.Conv2DTranspose(5, 3, dilation_rate=2, padding="same")(x),
    "transposed 1d": lambda x: layers.Conv1DTranspose(3, 3, strides=2, padding="same")(layers.Reshape((72, 4))(x)),
    "dense": lambda x: layers.Dense(5, activation="tanh")(x),
    "max pooling": lambda x: layers.MaxPooling2D(3, strides=2, padding="same")(x),
    "average pooling": lambda x: layers.AveragePooling2D((3, 2), strides=2, padding="same")(x),
    "average pooling uneven": lambda x: layers.AveragePooling2D(3, strides=2, padding="same")(x),
    "average pooling by 1": lambda x: layers.AveragePooling2D(3, strides=1, padding="same")(x),
    "max pooling of single pixels": lambda x: layers.MaxPooling2D(1, strides=2, padding="same")(x),
    "pooling with gaps": lambda x: layers.AveragePooling2D((2, 1), strides=(3, 4), padding="same")(x),
    "pooling 1d": lambda x: layers.MaxPooling1D(3)(layers.Reshape((72, 4))(x)),
    "pooling 3d": lambda x: layers.AveragePooling3D(2)(layers.Reshape((3, 3, 8, 4))(x)),
    "two pools": lambda x: layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]),
    "global pooling 1d": lambda x: layers.GlobalMaxPooling1D(keepdims=True)(layers.Reshape((72, 4))(x)),
    "up": lambda x: layers.UpSampling2D((2, 3))(x),
    "up bilinear": lambda x: layers.UpSampling2D((2, 3), interpolation="bilinear")(x),
    "up 1d": lambda x: layers.UpSampling1D(3)(layers.Reshape((72, 4))(x)),
    "up 3d": lambda x: layers.UpSampling3D(2)(layers.Reshape((3, 3, 8, 4))(x)),
    "resizing": lambda x: layers.Resizing(13, 5)(x),
    "resizing nearest": lambda x: layers.Resizing(13, 5, interpolation="nearest")(x),
    "center crop": lambda x: layers.CenterCrop(4, 5)(x),
    "cropping": lambda x: layers.Cropping2D(((1, 0), (2, 1)))(x),
    "cropping 1d": lambda x: layers.Cropping1D((1, 2))(layers.Reshape((72, 4))(x)),
    "zero padding": lambda x: layers.ZeroPadding2D(((1, 0), (2, 1)))(layers.Conv2D(4, 1)(x)),
    "zero padding 1d": lambda x: layers.ZeroPadding1D((1, 2))(layers.Reshape((72, 4))(x)),
    "permute": lambda x: layers.Permute((3, 1, 2))(layers.Conv2D(4, 1)(x)),
    "flatten": lambda x: layers.Flatten()(layers.Conv2D(4, 1)(x)),
    "reshape": lambda x: layers.Reshape((-1, 6))(layers.Conv2D(3, 1)(x)),
    "repeat": lambda x: layers.RepeatVector(3)(layers.GlobalAveragePooling2D()(x)),
    "one pixel": lambda x: layers.Multiply()([x, layers.Reshape((1, 1, 4))(layers.GlobalAveragePooling2D()(x))]),
    "relu": lambda x: layers.ReLU()(x),
    "relu of all kinds": lambda x: layers.ReLU(max_value=1.5, negative_slope=0.2, threshold=0.3)(x),
    "relu 6": lambda x: layers.ReLU(max_value=6.0)(x * 5),
    "leaky relu": lambda x: layers.LeakyReLU(0.1)(x),
    "prelu": lambda x: layers.PReLU(alpha_initializer="random_normal")(x),
    "prelu shared": lambda x: layers.PReLU("random_normal", shared_axes=[1, 2])(layers.Conv2D(4, 1)(x)),
    "elu": lambda x: layers.ELU(0.5)(x),
    "softmax": lambda x: layers.Softmax()(layers.Conv2D(4, 1)(x)),
    "softmax of rows": lambda x: layers.Softmax(axis=1)(layers.Conv2D(4, 1)(x)),
    "layer as an activation": lambda x: layers.Conv2D(4, 1, activation=layers.LeakyReLU(0.3))(x),
    "batch norm": lambda x: layers.BatchNormalization(axis=2)(layers.BatchNormalization()(x)),
    "layer norm": lambda x: layers.LayerNormalization()(layers.Conv2D(4, 1)(x)),
    "layer norm of sides": lambda x: layers.LayerNormalization(axis=[1, 2])(layers.Conv2D(4, 1)(x)),
    "group norm": lambda x: layers.GroupNormalization(2)(x),
    "rms norm": lambda x: layers.RMSNormalization()(layers.Conv2D(4, 1)(x)),
    "unit norm": lambda x: layers.UnitNormalization()(layers.Conv2D(4, 1)(x)),
    "normalization": lambda x: normalization()(x),
    "inverted": lambda x: normalization(invert=True)(layers.Conv2D(4, 1)(x)),
    "rescaling": lambda x: layers.Rescaling([1.0, 2.0, 3.0, 4.0], 0.5)(x),
    "merging": lambda x: layers.Subtract()([layers.Average()([x, x * 2, x * 3]), layers.Add()([x, x])]),
    "extremes": lambda x: layers.Maximum()([layers.Minimum()([x, layers.Conv2D(4, 1)(x)]), -x]),
    "merging ranks": lambda x: layers.Add()([layers.GlobalMaxPooling2D()(x), layers.Conv2D(4, 1)(x)]),
    "concatenation": lambda x: layers.Concatenate()([layers.Conv2D(3, 1)(x), x, layers.Conv2D(2, 1)(x)]),
    "concatenation of rows": lambda x: layers.Concatenate(axis=1)([layers.Conv2D(4, 1)(x), x]),
    "dot": lambda x: layers.Dot(axes=(3, 3), normalize=True)([x, layers.Conv2D(4, 1)(x)]),
    "dot of vectors": lambda x: layers.Dot(axes=1)([layers.Flatten()(x), layers.Flatten()(x)]),
    "pipeline": lambda x: layers.Pipeline([layers.Rescaling(0.5), layers.RandomFlip(), layers.CenterCrop(4, 4)])(x),
    "idle": lambda x: layers.GaussianNoise(0.5)(layers.SpatialDropout2D(0.5)(layers.ActivityRegularization(0.1)(x))),
    "arithmetic": lambda x: (x + 1.0) * 2 - x / 3 + ops.square(x) - (-x) + np.arange(4, dtype="float32"),
    "functions": lambda x: ops.exp(ops.minimum(x, 1)) + ops.sqrt(ops.abs(x)) + ops.log(ops.maximum(x, 0.1)) ** 2,
    "clip": lambda x: ops.clip(layers.Conv2D(4, 1)(x), -0.5, 0.5),
    "mean": lambda x: ops.mean(layers.Conv2D(4, 1)(x), axis=(1, 2)),
    "mean of channels": lambda x: ops.mean(layers.Conv2D(4, 1)(x), axis=-1, keepdims=True),
    "max and sum": lambda x: ops.max(layers.Conv2D(4, 1)(x), axis=1) + ops.sum(x, axis=1),
    "deviation": lambda x: ops.std(x, axis=(1, 2)) + ops.var(x, axis=(1, 2)),
    "log-sum-exp": lambda x: ops.logsumexp(x, axis=-1) + ops.logsumexp(x, axis=3, keepdims=True)[..., 0],
    "products": lambda x: ops.prod(layers.Conv2D(4, 1)(x), axis=-1) + ops.min(x, axis=-1),
    "depth to space": lambda x: ops.depth_to_space(x, 2) + ops.depth_to_space(layers.Conv2D(4, 1)(x), 2),
    "shapes": lambda x: ops.reshape(ops.transpose(ops.expand_dims(x, 1), (0, 3, 1, 2, 4)), (-1, 8, 36)),
    "axes": lambda x: ops.squeeze(ops.swapaxes(ops.moveaxis(x[:, 0:1], 1, 3), 1, 2), 3),
    "concatenate": lambda x: ops.concatenate([ops.relu(x), ops.stack([x[..., 0], x[..., 1]], axis=-1)], axis=-1),
    "items": lambda x: layers.Conv2D(4, 1)(x)[:, ::2, -3:, 1:3],
    "an item": lambda x: layers.Conv2D(4, 1)(x)[:, 2, :, None, -1],
    "split": lambda x: ops.multiply(*ops.split(layers.Conv2D(4, 1)(x), 2, axis=-1)),
    "flip and tile": lambda x: ops.tile(ops.flip(x, axis=1), (1, 2, 1, 1)),
    "pad": lambda x: ops.pad(ops.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), "reflect"), [[0, 0], [1, 1], [0, 0], [0, 0]]),
    "product": lambda x: ops.matmul(x, ops.transpose(x, (0, 1, 3, 2))),
    "normalize": lambda x: ops.normalize(layers.Conv2D(4, 1)(x), axis=-1),
    "resize": lambda x: ops.image.resize(x, (5, 12)),
    "pool": lambda x: ops.max_pool(x, 2) + ops.average_pool(x, 2),
    "glu": lambda x: ops.glu(x),
    "gelu operations": lambda x: ops.gelu(x) + ops.gelu(x, approximate=False),
    "softmax operations": lambda x: ops.softmax(x) + ops.log_softmax(x, axis=1) + ops.leaky_relu(x, negative_slope=0.3),
    "mixed orders": lambda x: layers.Conv2D(2, 3, data_format="channels_first", padding="same")(layers.Conv2D(3, 1)(x)),
}  # fmt: skip
if keras.backend.backend() == "tensorflow":  # which cannot compute this one on a processor
    del FORMS["mixed orders"]
if keras.backend.backend() == "torch":  # where Keras normalises the last axes only
    del FORMS["layer norm of sides"]

ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "glu", "silu", "swish", "mish", "sigmoid",
    "log_sigmoid", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "sparse_sigmoid", "tanh", "tanh_shrink",
    "softplus", "softsign", "squareplus", "exponential", "softmax", "log_softmax", "linear",
)  # fmt: skip


def pixels(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def check(model, runtime, x, tolerance=1e-5):
    """Asks a runtime and Keras the same."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if type(layer).__name__ in ("BatchNormalization", "LayerNormalization", "GroupNormalization"):
            layer.set_weights([value + rng.uniform(0, 0.5, value.shape) for value in layer.get_weights()])
    try:
        expected = keras.ops.convert_to_numpy(model(x, training=False))
    except Exception as error:
        if "do not yet support dilation" in str(error):
            pytest.skip("TensorFlow computes this by oneDNN alone, which it leaves off on processors without VNNI")
        raise
    (run_batch,) = RUNTIMES[runtime](model)(x)
    assert run_batch.shape == expected.shape
    np.testing.assert_allclose(run_batch, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", FORMS)
def test_layers_and_operations(name, runtime):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 8, 4))
    check(keras.Model(inputs, FORMS[name](inputs)), runtime, pixels(2, 9, 8, 4))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_activations(runtime):
    """All at once, side by side, each behind a convolution as well as alone."""
    inputs = keras.Input((3, 4, 4))
    x = 3 * inputs
    alone = [layers.Activation(name)(x) for name in ACTIVATIONS]
    behind = [layers.Conv2D(4, 1, activation=name)(x) for name in ACTIVATIONS]
    check(keras.Model(inputs, layers.Concatenate()([*alone, *behind])), runtime, pixels(2, 3, 4, 4))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_fractions_of_an_input_of_whole_numbers_are_cut_off(runtime):
    inputs = keras.Input((3, 4, 4), dtype="uint8")
    model = keras.Model(inputs, layers.Rescaling(1 / 255)(inputs))
    x = np.linspace(0, 255, 48, dtype=np.float32).reshape(1, 3, 4, 4)
    (found,) = RUNTIMES[runtime](model)(x)
    np.testing.assert_allclose(found, np.trunc(x) / 255, atol=1e-6)
    np.testing.assert_allclose(found, model.predict_on_batch(x), atol=1e-6)


def test_what_is_over_several_axes_at_once_is_named():
    inputs = keras.Input((3, 4, 4))
    model = keras.Model(inputs, layers.Softmax(axis=(1, 2), name="mine")(inputs))
    with pytest.raises(UnsupportedLayerError, match=r"'mine', a Softmax, is over the axes \[1, 2\] at once"):
        onnx.convert(model)
