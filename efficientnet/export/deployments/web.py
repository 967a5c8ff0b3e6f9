"""A page that predicts in the browser, without a server: the model and ONNX Runtime Web in scripts beside it.

A page that is opened from a disk may load scripts and nothing else, so all files lie in scripts, in Base64.
"""

from __future__ import annotations

import base64
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...common.packages import missing
from ...images.resizing import MAP_INTERPOLATION_TO_ORDER
from ...model_io.outputs import have_names
from ...model_io.spec import InputSpec
from ...reports.templating import render
from .base import Deployment, Exported

# Where the runtime comes from if no folder of it is given, and the hashes that the browser compares its files with.
_ADDRESS = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
_INTEGRITY = {
    "ort.wasm.bundle.min.mjs": "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
    "ort-wasm-simd-threaded.wasm": "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
}
_MODEL = "model.onnx"
# Characters of a text in the browsers with the least, V8's; in Base64 four stand for three bytes.
_MOST_BYTES = (1 << 29) * 3 // 4 - 1024


def runtime_files(folder: Path) -> list[Path]:
    """Return the files of ONNX Runtime Web in the folder of its package, or in ``dist`` within.

    Raises:
        FileNotFoundError: One of them is not there.
    """
    place = folder / "dist" if (folder / "dist").is_dir() else folder
    files = [place / name for name in _INTEGRITY]
    if missing := [file for file in files if not file.is_file()]:
        raise FileNotFoundError(
            f"{missing[0]} is missing: run `npm pack onnxruntime-web`, unpack the archive, and give its folder "
            "'package'; or give none, and the page loads the runtime from the internet."
        )
    return files


def _check(name: str, spec: InputSpec) -> None:
    if find_spec("jinja2") is None:
        raise missing("A page needs Jinja2", "web")
    spec.check_vector()
    spec.check_images()
    if spec.channels not in (1, 3):
        raise ValueError(f"{spec.name} takes images of {spec.channels} channels, and a browser reads those of 1 or 3.")


def _complete(exported: Exported, runtime: Path | None) -> None:
    folder = exported.folder
    model = folder / _MODEL
    if model.stat().st_size > _MOST_BYTES:
        raise ValueError(
            f"The model has {model.stat().st_size / 1e6:.0f} MB, and a browser loads up to {_MOST_BYTES / 1e6:.0f} MB: "
            "choose a smaller precision (--precision f16 or int8) or a smaller model."
        )
    files = [] if runtime is None else runtime_files(runtime)
    for file in (model, *files):
        content = base64.b64encode(file.read_bytes()).decode()
        (folder / f"{file.name}.js").write_text(f'files["{file.name}"] = "{content}";\n', encoding="ascii")
    model.unlink()
    page = render("web.html", settings=_settings(exported, has_runtime=bool(files)))
    (folder / "index.html").write_text(page, encoding="utf-8")


def _settings(exported: Exported, has_runtime: bool) -> dict[str, Any]:
    """Return what the page has to know of the model and the runtime."""
    spec = exported.spec
    size = spec.check_images()
    are_classes = spec.kind in ("probabilities", "binary", "labels", "unknown")
    has_names = have_names(spec.classes)
    labels = [label for _, label in spec.classes]
    return {
        "name": spec.name, "model": _MODEL, "input": exported.input, "output": exported.outputs[0],
        "shape": spec.image_shape(1), "size": size, "crop": size / spec.crop - size, "channels": spec.channels,
        "channelsLast": spec.channels_last, "order": MAP_INTERPOLATION_TO_ORDER[spec.interpolation],
        "kind": spec.kind,
        "labels": labels if are_classes or has_names else [f"output_{index}" for index in range(spec.outputs)],
        "thresholds": spec.label_thresholds().tolist(),
        "isRanked": are_classes or (spec.outputs > 1 and has_names and spec.targets != "values"),
        "runtime": {
            "address": "" if has_runtime else _ADDRESS, "files": list(_INTEGRITY), "integrity": _INTEGRITY,
        },
    }  # fmt: skip


_FILES = (f"{_MODEL}.js", "index.html", *(f"{name}.js" for name in _INTEGRITY))
WEB = Deployment("onnx", _MODEL, _FILES, _check, _complete, raw_pixels=True)
