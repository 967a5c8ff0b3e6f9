"""Makes the golden files of tests/data/golden: small networks of other implementations, and what they predict.

    python tests/make_golden.py NAME [FOLDER]

NAME is a key of ``MAKERS``. Writes ``FOLDER/NAME`` (by default tests/data/golden/NAME): the weights in the
implementation's own format, and ``io.npz`` with ``x``, the input as the implementation takes it, and ``y``, what the
implementation itself predicted. The package under test is not imported. Some implementations are not among the
packages of tests/peers.txt, and qubvel's has this package's name, so that it takes the place of it:

    pip install --target q --no-deps efficientnet==1.1.1   # TF_USE_LEGACY_KERAS=1 PYTHONPATH=q
    pip install --target k keras-hub==0.32.0               # PYTHONPATH=k KERAS_BACKEND=torch
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peers import import_torchvision

WIDTH, DEPTH, SIZE, CLASSES = 0.1, 0.5, 32, 10  # depth: stages of one, two and more blocks
IMAGES = 3
GAIN, GAIN_OF_V2 = 1.7, 1.3  # of the weights: so that images differ in their output, but not by rounding errors
V1_STAGES = [  # expansion, kernel, stride, input, output, repeats
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
]
V2_STAGES = [
    (1, 3, 1, 32, 16, 1),
    (4, 3, 2, 16, 32, 2),
    (4, 3, 2, 32, 48, 2),
    (4, 3, 2, 48, 96, 3),
    (6, 3, 1, 96, 112, 5),
    (6, 3, 2, 112, 192, 8),
]


def random_array(rng: np.random.Generator, name: str, shape: tuple[int, ...], fan_in: int, gain: float) -> np.ndarray:
    """Values as after a training: batch norm is not the identity, and with the right gain no activations explode."""
    if name.endswith(("running_var", "variance")):
        values = rng.uniform(0.5, 1.5, shape)
    elif len(shape) > 1:
        values = rng.normal(0, gain * fan_in**-0.5, shape)
    elif name.endswith(("weight", "gamma")):
        values = rng.uniform(0.7, 1.3, shape)
    else:  # moving means, offsets and biases
        values = rng.uniform(-0.2, 0.2, shape)
    return values.astype(np.float32)


def save_io(folder: Path, x: np.ndarray, **outputs: np.ndarray) -> None:
    if np.ptp(outputs["y"], axis=0).max() < 1e-3:
        sys.exit(f"{folder.name}: all images have the same output; such a file shows nothing.")
    np.savez(folder / "io.npz", x=x, **outputs)


def preprocessed(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 1, (IMAGES, SIZE, SIZE, 3)).astype(np.float32)


# --- PyTorch -----------------------------------------------------------------------------------------------------


def in_torch(network: Any, folder: Path, gain: float = GAIN) -> Any:
    """Fills the network, saves what it predicts, and returns it."""
    import torch

    rng = np.random.default_rng(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.ndim:
                fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
                tensor.copy_(torch.from_numpy(random_array(rng, name, tuple(tensor.shape), fan_in, gain)))
        x = preprocessed(rng)
        logits = network.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
        save_io(folder, x, y=torch.softmax(logits, 1).numpy())
    return network


def timm(builder: str, name: str, gain: float = GAIN, *, all_formats: bool = False) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import safetensors.torch
        import torch

        import_torchvision(torch)  # which timm needs
        build = getattr(importlib.import_module("timm.models.efficientnet"), builder)
        network = build(
            name, channel_multiplier=WIDTH, depth_multiplier=DEPTH, num_classes=CLASSES, pad_type="same", bn_eps=1e-3
        )
        arrays = in_torch(network, folder, gain).state_dict()
        torch.save(arrays, folder / "model.pth")
        if all_formats:
            torch.save(arrays, folder / "model_legacy.pth", _use_new_zipfile_serialization=False)
            safetensors.torch.save_file(arrays, folder / "model.safetensors")

    return make


def torchvision(folder: Path) -> None:
    import torch

    models = import_torchvision(torch).models.efficientnet
    stages = [models.MBConvConfig(*stage, width_mult=WIDTH, depth_mult=DEPTH) for stage in V1_STAGES]
    network = in_torch(models.EfficientNet(stages, dropout=0.2, num_classes=CLASSES), folder)
    torch.save(network.state_dict(), folder / "model.pth")


# --- Keras -------------------------------------------------------------------------------------------------------


def fill(model: Any, gain: float = GAIN) -> None:
    rng = np.random.default_rng(0)
    for weight in model.weights:
        name, shape = getattr(weight, "path", weight.name).split(":")[0], tuple(weight.shape)
        if "normalization/" in name and "batch" not in name:
            continue  # of the preprocessing in the graph
        is_depthwise = len(shape) == 4 and shape[-1] == 1
        fan_in = int(np.prod(shape[:2] if is_depthwise else shape[:-1]))
        weight.assign(random_array(rng, name, shape, fan_in, gain))


def keras_applications(module: str, gain: float, builder: str, **options: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import keras

        build = getattr(importlib.import_module(f"keras.src.applications.{module}"), builder)
        model = build(WIDTH, DEPTH, SIZE, weights=None, classes=CLASSES, **options)
        fill(model, gain)
        x = np.random.default_rng(1).uniform(0, 255, (IMAGES, SIZE, SIZE, 3)).astype(np.float32)
        save_io(folder, x, y=keras.ops.convert_to_numpy(model(x, training=False)))
        model.save_weights(folder / "model.weights.h5")

    return make


def kerashub(types: list[str], stages: list[tuple[int, ...]], gain: float, **options: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import keras
        import keras_hub

        columns = list(zip(*stages, strict=True))
        count = len(stages)
        backbone = keras_hub.models.EfficientNetBackbone(
            stackwise_width_coefficients=[WIDTH] * count,
            stackwise_depth_coefficients=[DEPTH] * count,
            stackwise_expansion_ratios=columns[0],
            stackwise_kernel_sizes=columns[1],
            stackwise_strides=columns[2],
            stackwise_input_filters=columns[3],
            stackwise_output_filters=columns[4],
            stackwise_num_repeats=columns[5],
            stackwise_squeeze_and_excite_ratios=[0.0 if kind in ("fused", "cba") else 0.25 for kind in types],
            stackwise_block_types=types,
            stackwise_force_input_filters=[0] * count,
            use_depth_divisor_as_min_depth=True,
            batch_norm_momentum=0.9,
            activation="swish",
            **options,
        )
        task = keras_hub.models.EfficientNetImageClassifier(backbone, num_classes=CLASSES, activation="softmax")
        fill(task, gain)
        x = preprocessed(np.random.default_rng(1))
        y, features = (keras.ops.convert_to_numpy(model(x, training=False)) for model in (task, backbone))
        save_io(folder, x, y=y, features=features)
        task.save_to_preset(folder / "preset")
        task.save(folder / "task.keras")

    return make


def qubvel(folder: Path) -> None:
    import efficientnet  # 1.1.1, not this one

    build = efficientnet.inject_tfkeras_modules(importlib.import_module("efficientnet.model").EfficientNet)
    efficientnet.init_tfkeras_custom_objects()
    model = build(WIDTH, DEPTH, SIZE, weights=None, input_shape=(SIZE, SIZE, 3), classes=CLASSES)
    fill(model)
    x = preprocessed(np.random.default_rng(1))
    save_io(folder, x, y=model(x, training=False).numpy())
    model.save_weights(folder / "weights.h5")
    model.save(folder / "full_model.h5")


# --- TensorFlow --------------------------------------------------------------------------------------------------


def tensorflow(folder: Path) -> None:
    """A checkpoint as of the authors' programs, with moving averages, written by TensorFlow. No network: their code
    does not run on today's TensorFlow."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    arrays = {"global_step": np.int64(350)}
    for block in range(16):
        for name, shape in (("conv2d/kernel", (1, 1, 8, 16)), ("tpu_batch_normalization/gamma", (16,))):
            for suffix in ("", "/ExponentialMovingAverage"):
                arrays[f"efficientnet-b0/blocks_{block}/{name}{suffix}"] = rng.normal(0, 1, shape).astype(np.float32)
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt"),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=list(arrays.values()),
    )


MAKERS: dict[str, Callable[[Path], None]] = {
    "keras-b0": keras_applications("efficientnet", GAIN, "EfficientNet"),
    "keras-v2-b0": keras_applications("efficientnet_v2", GAIN_OF_V2, "EfficientNetV2", name="efficientnetv2-b0"),
    "kerashub-b0": kerashub(
        ["v1"] * 7,
        V1_STAGES,
        GAIN,
        include_stem_padding=True,
        stem_conv_padding="valid",
        batch_norm_epsilon=1e-5,
        cap_round_filter_decrease=True,
    ),
    "kerashub-v2-b0": kerashub(  # as "edgetpu" pads: fused blocks equally on all sides, others as TensorFlow does
        ["cba", "fused", "fused", "unfused", "unfused", "unfused"],
        V2_STAGES,
        GAIN_OF_V2,
        include_stem_padding=False,
        stem_conv_padding="same",
        batch_norm_epsilon=1e-3,
        cap_round_filter_decrease=False,
    ),
    "qubvel-b0": qubvel,
    "tensorflow": tensorflow,
    "timm-b0": timm("_gen_efficientnet", "tf_efficientnet_b0", all_formats=True),
    "timm-v2-b0": timm("_gen_efficientnetv2_base", "tf_efficientnetv2_b0", GAIN_OF_V2),
    "torchvision-b0": torchvision,
}


def main(name: str, parent: str | Path = Path(__file__).parent / "data" / "golden") -> None:
    folder = Path(parent) / name
    folder.mkdir(parents=True, exist_ok=True)
    MAKERS[name](folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
