"""Small models that others may have exported, and what they give, made without their exporters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def kernel(channels: int = 3, outputs: int = 5) -> np.ndarray:
    """Weights of a network that maps the mean of each channel to numbers."""
    values: np.ndarray = np.random.default_rng(0).normal(0, 1, (channels, outputs)).astype(np.float32)
    return values


def expected(batch: np.ndarray, channels_last: bool, activation: str | None = "Softmax") -> np.ndarray:
    """What :func:`write_onnx` makes compute of a batch of network inputs."""
    logits = batch.astype(np.float32).mean(axis=(1, 2) if channels_last else (2, 3)) @ kernel()
    if activation == "Sigmoid":
        return np.asarray(1 / (1 + np.exp(-logits)))
    if activation is None:
        return np.asarray(logits)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def write_onnx(
    path: Path, shape: list[Any], dtype: str = "FLOAT", activation: str | None = "Softmax", inputs: int = 1
) -> Path:
    """Write a network whose input has this shape; its outputs are those of :func:`expected`, (batch, 5)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    axes = [1, 2] if shape[-1] == 3 else [2, 3]
    given = [
        helper.make_tensor_value_info(f"x{number}", getattr(TensorProto, dtype), shape) for number in range(inputs)
    ]
    logits = "logits" if activation else "y"
    nodes = [
        helper.make_node("Cast", ["x0"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "w"], [logits]),
        *([helper.make_node(activation, ["logits"], ["y"])] if activation else []),
    ]
    graph = helper.make_graph(
        nodes, "mine", given, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], 5])],
        [numpy_helper.from_array(kernel(), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def write_onnx_map(path: Path) -> Path:
    """Write a network of (n, 3, 32, 32) that ends in a convolution: the outputs of :func:`expected`, (n, 5, 1, 1)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("ReduceMean", ["x0"], ["means"], axes=[2, 3]),
        helper.make_node("Conv", ["means", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    shapes = {"x0": ["n", 3, 32, 32], "y": ["n", 5, 1, 1]}
    given, found = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    weights = numpy_helper.from_array(kernel().T[:, :, None, None].copy(), "w")
    graph = helper.make_graph(nodes, "mine", [given], [found], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def write_saved_model_map(path: Path) -> Path:
    """Write a network of (n, 32, 32, 3) that ends in a convolution: the outputs of :func:`expected`, (n, 1, 1, 5)."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.float32, "x0")])
    def predict(x0: Any) -> Any:
        means = tf.reduce_mean(x0, [1, 2], keepdims=True)
        return {"y": tf.nn.softmax(tf.nn.conv2d(means, kernel()[None, None], 1, "VALID"))}

    module = tf.Module()
    tf.saved_model.save(module, str(path), signatures=predict)
    return path


def small_keras() -> Any:
    """A small classifier of Keras with random weights that tell images apart."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", kernel_initializer="he_normal")(inputs)
    x = keras.layers.Dense(5, activation="softmax", kernel_initializer="he_normal", name="probs")(
        keras.layers.GlobalAveragePooling2D()(x)
    )
    return keras.Model(inputs, x, name="small")
