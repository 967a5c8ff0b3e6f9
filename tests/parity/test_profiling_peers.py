"""Multiply-adds against an independent counter: TensorFlow's own profiler, on networks of other families."""

import math
import os

import pytest

from efficientnet.keras_graph.profile import profile

# TensorFlow counts a multiplication and an addition as two, and padding nowhere.
OPERATIONS = ("Conv2D", "DepthwiseConv2dNative", "MatMul")


def tensorflow_macs(model):
    import tensorflow as tf

    function = tf.function(lambda x: model(x, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:]), tf.float32))
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    counted = tf.compat.v1.profiler.profile(concrete.graph, cmd="op", options=options)
    found = {}

    def collect(node):
        for child in node.children:
            found[child.name] = child.float_ops
            collect(child)

    found[counted.name] = counted.float_ops
    collect(counted)
    return sum(found.get(operation, 0) for operation in OPERATIONS) / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [("MobileNetV2", 96), ("ResNet50", 64), ("DenseNet121", 64), ("Xception", 96), ("VGG16", 32)]
)
def test_tensorflows_profiler(name, size):
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow" or os.environ.get("TF_USE_LEGACY_KERAS") == "1":
        pytest.skip("TensorFlow's profiler counts models of Keras 3 on TensorFlow")
    top = {"include_top": False, "pooling": "avg"} if name == "VGG16" else {}
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **top)
    found = profile(model)
    assert not found.uncounted
    assert found.macs == pytest.approx(tensorflow_macs(model), rel=0.005)
    assert found.parameters == sum(math.prod(weight.shape) for weight in model.trainable_weights)
