"""Small valid files of weights, one of each format, for tests to read and to damage."""

from __future__ import annotations

import functools
import io
import json
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

ARRAYS = {
    "stem_conv": {"kernel": np.arange(108, dtype="f4").reshape(3, 3, 3, 4)},
    "stem_bn": {
        name: np.linspace(number, 1, 4, dtype="f4")
        for number, name in enumerate(("gamma", "beta", "moving_mean", "moving_variance"))
    },
    "relu": {},
    "probs": {"kernel": np.ones((4, 3), "f2"), "bias": np.zeros(3, "f4")},
}
CLASSES = {"stem_conv": "Conv2D", "stem_bn": "BatchNormalization", "relu": "Activation", "probs": "Dense"}
BY_NAME = {f"{layer}/{role}": array for layer, arrays in ARRAYS.items() for role, array in arrays.items()}
BY_NUMBER = {
    f"{group}/{index}": array
    for group, layer in (("batch_normalization", "stem_bn"), ("conv2d", "stem_conv"), ("dense", "probs"))
    for index, array in enumerate(ARRAYS[layer].values())
}


def config(**options: dict[str, object]) -> dict[str, object]:
    """What Keras writes of the model, with options of some layers."""
    layers = [{"class_name": kind, "config": {"name": name, **options.get(name, {})}} for name, kind in CLASSES.items()]
    return {"class_name": "Functional", "config": {"name": "net", "layers": layers}}


def keras2_weights(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        _fill_keras2(file)


def keras2_model(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps(config())
        _fill_keras2(file.create_group("model_weights"))


def _fill_keras2(root: object) -> None:
    root.attrs["layer_names"] = list(ARRAYS)
    for layer, arrays in ARRAYS.items():
        group = root.create_group(layer)
        group.attrs["weight_names"] = [f"{layer}/{role}:0".encode() for role in arrays]
        for role, array in arrays.items():
            group[f"{layer}/{role}:0"] = array


def keras3_weights(path: Path | io.BytesIO) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, layer in zip(("conv2d", "batch_normalization", "activation", "dense"), ARRAYS, strict=True):
            variables = file.create_group(f"layers/{name}/vars")
            variables.attrs["name"] = layer
            for index, array in enumerate(ARRAYS[layer].values()):
                variables[str(index)] = array
        file["optimizer/vars/0"] = np.int64(3)


def keras_custom_class(path: Path) -> None:
    """A model of a custom class: its attribute ``body`` is written before ``layers``, which has all the others."""
    import h5py

    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file.create_group("vars").attrs["name"] = "net"
        file["optimizer/vars/0"] = np.int64(3)
        for place, array in BY_NUMBER.items():
            group, index = place.split("/")
            file[f"{'' if group == 'dense' else 'body/'}layers/{group}/vars/{index}"] = array
    custom = {"class_name": "Net", "config": {"name": "net", "layers": [64, 32]}, "registered_name": "Net"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
        archive.writestr("config.json", json.dumps(custom))
        archive.writestr("model.weights.h5", weights.getvalue())


def keras_shards(path: Path) -> None:
    import h5py

    listed = {}
    for number, groups in enumerate((("conv2d", "batch_normalization"), ("dense",))):
        name = f"{path.name.removesuffix('.weights.json')}_{number:05d}.weights.h5"
        with h5py.File(path.with_name(name), "w") as file:
            for place, array in BY_NUMBER.items():
                group, index = place.split("/")
                if group in groups:
                    file[f"layers/{group}/vars/{index}"] = array
                    listed[f"/layers/{group}/vars"] = [name]
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": listed}))


def keras_archive(path: Path) -> None:
    weights = io.BytesIO()
    keras3_weights(weights)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
        archive.writestr("config.json", json.dumps(config()))
        archive.writestr("model.weights.h5", weights.getvalue())


def torch_zip(path: Path, *, new: bool = True) -> None:
    import torch

    tensors = {name.replace("/", "."): torch.from_numpy(array) for name, array in BY_NAME.items()}
    torch.save({"epoch": 3, "state_dict": tensors}, path, _use_new_zipfile_serialization=new)


def torch_legacy(path: Path) -> None:
    torch_zip(path, new=False)


def safetensors(path: Path) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "np"}}
    content = b""
    for name, array in BY_NAME.items():
        place = [len(content), len(content) + array.nbytes]
        header[name] = {"dtype": f"F{array.itemsize * 8}", "shape": array.shape, "data_offsets": place}
        content += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def safetensors_index(path: Path) -> None:
    safetensors(path.with_name("model-00001-of-00001.safetensors"))
    files = dict.fromkeys(BY_NAME, "model-00001-of-00001.safetensors")
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": files}))


@functools.cache
def _tensorflow_files() -> dict[str, bytes]:
    """What TensorFlow writes, in a process of its own: it takes long to import."""
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        "names = [f'net/layer_{i}/kernel' for i in range(20)]\n"
        "arrays = [np.full((3, i + 1), i, 'f4') for i in range(20)]\n"
        "tf.raw_ops.SaveV2(prefix=sys.argv[1], tensor_names=names, shape_and_slices=[''] * 20, tensors=arrays)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code, f"{folder}/net.ckpt"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=600)
        return {path.suffix: path.read_bytes() for path in Path(folder).iterdir()}


def tensorflow(path: Path) -> None:
    for suffix, content in _tensorflow_files().items():
        path.with_suffix(suffix).write_bytes(content)


def tensorflow_tar(path: Path) -> None:
    tensorflow(path.with_name("model.ckpt.index"))
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for part in sorted(path.parent.glob("model.ckpt.*")):
            archive.add(part, f"net/{part.name}")
            part.unlink()


KERAS: dict[str, Callable[[Path], None]] = {
    "weights.h5": keras2_weights,
    "model.h5": keras2_model,
    "net.weights.h5": keras3_weights,
    "net.keras": keras_archive,
    "net.weights.json": keras_shards,
}

# Of each format the file to open, what writes it, and the package that this takes.
FORMATS: dict[str, tuple[Callable[[Path], None], str]] = {
    **{name: (write, "h5py") for name, write in KERAS.items()},
    "custom.keras": (keras_custom_class, "h5py"),
    "net.pth": (torch_zip, "torch"),
    "legacy.pth": (torch_legacy, "torch"),
    "net.safetensors": (safetensors, "numpy"),
    "net.safetensors.index.json": (safetensors_index, "numpy"),
    "net.ckpt.index": (tensorflow, "tensorflow"),
    "net.tar": (tensorflow_tar, "tensorflow"),
    "net.tar.gz": (tensorflow_tar, "tensorflow"),
}
