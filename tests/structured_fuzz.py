"""Reads images, JSON, notes and archives that were changed where it matters, in a process of its own.

    python structured_fuzz.py FIRST LAST STEP

What is changed how follows from a case's number alone. Prints each number before it is tried, and after it what went
wrong, if anything: another error than the documented ones, or more memory than MEMORY. A case that computes
for longer than SECONDS ends the process.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import random
import resource
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_worker import SECONDS, damage, limit_time, memory_folder
from PIL import Image
from sample_files import FORMATS, config

from efficientnet import get_variant
from efficientnet.checkpoints import open_checkpoint
from efficientnet.common.json_files import MOST_BYTES
from efficientnet.design.results import load_results
from efficientnet.images.loading import load_image
from efficientnet.keras_files import metadata
from efficientnet.keras_files.opening import _inspect
from efficientnet.training.recipes import FINETUNE, get_recipe, to_json

MEMORY = 2**20  # kilobytes: 1 GB
DOCUMENTED = (ValueError, OSError)
ODD: tuple[Callable[[], Any], ...] = (
    lambda: None, lambda: True, lambda: 0, lambda: -1, lambda: 10**9, lambda: 2**63, lambda: 10**400, lambda: 1e308,
    lambda: 1e-320, lambda: float("nan"), lambda: float("-inf"), lambda: "", lambda: "x" * 10_000, lambda: "\ud800",
    lambda: "\x1b[2J\n|", lambda: [], lambda: {}, lambda: [[[]]] * 3, lambda: {"a": {"b": [None]}}, lambda: [0] * 5000,
)  # fmt: skip


# Of timm, transformers and KerasHub: config.json, and what lies beside it.
CONFIGURATIONS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    (
        {
            "architecture": "efficientnet_b0", "num_classes": 2, "label_names": ["a", "b"],
            "model_args": {"pad_type": "same", "bn_eps": 1e-3},
            "pretrained_cfg": {
                "tag": "x", "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9, "interpolation": "bicubic",
            },
        },
        {},
    ),
    (
        {
            "model_type": "efficientnet", "image_size": 224, "depthwise_padding": [], "batch_norm_eps": 1e-3,
            "strides": [1, 2, 2, 2, 1, 2, 1], "num_block_repeats": [1, 2, 2, 3, 3, 4, 1], "depth_coefficient": 1.0,
            "hidden_act": "swish", "id2label": {"0": "a", "1": "b"},
        },
        {
            "preprocessor_config.json": {
                "size": {"height": 256}, "crop_size": {"height": 224}, "do_center_crop": True, "rescale_factor": 0.01,
                "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "include_top": True, "resample": 3,
            }
        },
    ),
    (
        {
            "class_name": "EfficientNetBackbone",
            "config": {
                "include_stem_padding": True, "stem_conv_padding": "valid", "batch_norm_epsilon": 1e-5,
                "stackwise_block_types": ["v1", "fused"], "stackwise_strides": [1, 2],
            },
        },
        {
            "image_converter.json": {
                "config": {
                    "scale": [0.01] * 3, "offset": [0.5] * 3, "mean": [0.5] * 3, "variance": [0.1] * 3,
                    "crop_to_aspect_ratio": True, "interpolation": "bilinear",
                }
            },
            "task.json": {"config": {"activation": "softmax", "num_classes": 2}},
        },
    ),
)  # fmt: skip
BESIDE = ("preprocessor_config.json", "image_converter.json", "task.json")
# In an index; none of them is beside it.
NAMES = ("../whole.keras", "/etc/passwd", "..", "hub", "hub/model.safetensors", "gone.safetensors", "\u202e", "C:x")


def changed(value: Any, rng: random.Random) -> Any:
    """The value with some of its parts, at any depth, replaced, left out or doubled."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 4))):
        holder, key = {"": value}, ""
        while isinstance(holder[key], (dict, list)) and holder[key] and rng.random() < 0.85:
            holder = holder[key]
            key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        match rng.randrange(8):
            case 0 if isinstance(holder, dict) and key:
                del holder[key]
            case 1 if isinstance(holder, dict) and key:
                holder[f"{key}x"] = holder[key]
            case 2 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case _:
                odd = rng.choice(ODD)()
                if key == "":
                    value = odd
                    continue
                holder[key] = odd
    return value


def text(value: Any, rng: random.Random) -> bytes:
    """A JSON text, mostly of the value changed, at times cut, endless or deep."""
    match rng.randrange(20):
        case 0:
            return b"[" * rng.choice((10, 1000, 10_000))
        case 1:
            return b" " * rng.choice((0, 2**20, MOST_BYTES + 1))
        case 2 | 3:
            return damage(json.dumps(value).encode(), rng, b"\xff\xfe{}")
    return json.dumps(changed(value, rng), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def images() -> list[bytes]:
    """Small images of every kind."""
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 256, (40, 50, 4), np.uint8))
    made = []
    for mode, suffix, options in (
        ("L", "PNG", {}), ("RGB", "PNG", {}), ("RGBA", "PNG", {}), ("P", "PNG", {}), ("1", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGB", "JPEG", {}), ("L", "JPEG", {}), ("CMYK", "JPEG", {}), ("RGB", "JPEG", {"progressive": True}),
        ("RGB", "WEBP", {}), ("RGBA", "WEBP", {"lossless": True}), ("P", "GIF", {}), ("RGB", "TIFF", {}),
        ("F", "TIFF", {}), ("RGB", "TIFF", {"compression": "tiff_lzw"}), ("RGB", "BMP", {}), ("RGB", "PPM", {}),
        ("RGB", "TGA", {}), ("RGBA", "ICO", {}), ("RGB", "JPEG2000", {}), ("RGB", "DDS", {}),
    ):  # fmt: skip
        file = io.BytesIO()
        grey = Image.fromarray(rng.integers(0, 65536, (40, 50), np.uint16)) if mode == "I;16" else None
        image = grey or pixels.convert("L" if mode == "F" else "RGB" if mode in "CMYKP" else mode).convert(mode)
        image.save(file, suffix, **options)
        made.append(file.getvalue())
    return made


def archive(path: Path, members: dict[str, bytes], rng: random.Random) -> None:
    """A ``.keras`` file, a quarter of them damaged as a whole, too."""
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, content in members.items():
            file.writestr(name, content)
    if rng.random() < 0.25:
        path.write_bytes(damage(path.read_bytes(), rng, b"PK\3\4"))


def cases(folder: Path) -> list[Callable[[random.Random], None]]:
    """What is tried, each with its own kind of file."""
    wholes = []
    for name in ("net.keras", "custom.keras"):
        FORMATS[name][0](folder / "whole.keras")
        with zipfile.ZipFile(folder / "whole.keras") as file:
            wholes.append({name: file.read(name) for name in file.namelist()})
    samples = images()
    variant = {"format": 1, "variant": {**dataclasses.asdict(get_variant("b0")), "name": "mine"}}
    network = {"name": "a", "depth": 1.0, "accuracies": [0.5]}
    results = {"format": 1, "kind": "search", "baseline": "b", "data": {}, "recipe": {}, "networks": [network]}
    members = {
        "class_names.json": ["a", "b"], "preprocessing.json": [[1.0] * 3, [0.0] * 3], "crop.json": 0.9,
        "recipe.json": to_json(FINETUNE), "config.json": config(), "metadata.json": {"keras_version": "3.0.0"},
    }  # fmt: skip
    path = folder / "case.json"
    model = folder / "case.keras"

    def image(rng: random.Random) -> None:
        found = load_image(damage(rng.choice(samples), rng, rng.choice(samples)))
        assert found.ndim == 3 and found.shape[2] == 3 and found.dtype == np.uint8

    def json_of(value: Any, read: Callable[[Path], Any]) -> Callable[[random.Random], None]:
        def attempt(rng: random.Random) -> None:
            path.write_bytes(text(value, rng))
            read(path)

        return attempt

    hub = folder / "hub"
    hub.mkdir()
    FORMATS["net.safetensors"][0](hub / "model.safetensors")

    def configuration(rng: random.Random) -> None:
        config, beside = rng.choice(CONFIGURATIONS)
        for name in BESIDE:
            (hub / name).unlink(missing_ok=True)
        for name, value in {"config.json": config, **beside}.items():
            (hub / name).write_bytes(text(value, rng))
        open_checkpoint(hub)

    def index(rng: random.Random) -> None:
        name = rng.choice(("model.safetensors.index.json", "model.weights.json"))
        listed = rng.choice(NAMES)
        (folder / name).write_bytes(
            text({"metadata": {"total_size": 1}, "weight_map": {"a": listed, "b": [listed]}}, rng)
        )
        for stored in open_checkpoint(folder / name).arrays.values():
            np.sum(stored)

    def note(rng: random.Random) -> None:
        name = rng.choice(list(members)[:4])
        archive(model, {**wholes[0], name: text(members[name], rng)}, rng)
        for read in (
            metadata.read_class_names, metadata.read_preprocessing, metadata.read_crop, metadata.read_recipe,
            metadata.read_targets, metadata.read_thresholds,
        ):  # fmt: skip
            read(model)

    def member(rng: random.Random) -> None:
        name = rng.choice(list(members)[4:])
        archive(model, {**rng.choice(wholes), name: text(members[name], rng)}, rng)
        refused = []
        for read in (_inspect, lambda path: [np.sum(stored) for stored in open_checkpoint(path).arrays.values()]):
            try:
                read(model)
            except DOCUMENTED as error:
                refused.append(error)

    return [
        image, image, image,
        json_of(variant, get_variant), json_of(to_json(FINETUNE), lambda path: get_recipe(path, get_variant("b0"))),
        json_of(results, load_results), note, member, configuration, index,
    ]  # fmt: skip


def main(first: int, last: int, step: int) -> None:
    with memory_folder() as folder:
        tried = cases(Path(folder))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(first, last, step):
            rng = random.Random(number)
            print(number, flush=True)
            limit_time(SECONDS)
            problem = ""
            try:
                tried[number // step % len(tried)](rng)
            except DOCUMENTED:
                pass
            except BaseException as error:
                problem = repr(error)[:300]
            limit_time(0)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if peak > before + MEMORY:
                problem += f" took {(peak - before) >> 10} MB"
                before = peak
            if problem:
                print(number, problem, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
