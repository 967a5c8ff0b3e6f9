"""Model repositories for NVIDIA's Triton Inference Server: NAME/config.pbtxt, NAME/labels.txt, NAME/1/model.onnx."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .base import Deployment, Exported, check_name, write_labels

_TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8"}
_MOST_TOGETHER = 32  # images of a batch, of which Triton makes one of several requests


def _complete(exported: Exported, runtime: Path | None) -> None:
    folder = exported.folder / exported.name
    (folder / "config.pbtxt").write_text(_config(exported, write_labels(folder, exported.spec)), encoding="utf-8")


def _config(exported: Exported, labels: str | None) -> str:
    """Return the text of a ModelConfig. Where Triton makes the batches, shapes are without their axis."""
    spec = exported.spec
    batch = [] if exported.batch is None else [exported.batch]
    together = _MOST_TOGETHER if exported.batch is None else 0
    given = _tensor("input", exported.input, _TYPES[exported.dtype], [*batch, *spec.input_shape(1)[1:]])
    if len(exported.outputs) > 1 or not spec.outputs:
        # Maps: Triton reads their shapes from the file.
        taken = ""
    else:
        named = f'label_filename: "{labels}"' if labels else ""
        taken = _tensor("output", exported.outputs[0], "TYPE_FP32", [*batch, spec.outputs], named)
    batching = "dynamic_batching { }\n" if together else ""
    return f'name: "{exported.name}"\nbackend: "onnxruntime"\nmax_batch_size: {together}\n{given}{taken}{batching}'


def _tensor(kind: str, name: str, dtype: str, shape: Sequence[int], more: str = "") -> str:
    lines = [f'name: "{name}"', f"data_type: {dtype}", f"dims: [ {', '.join(map(str, shape))} ]", more]
    return f"{kind} [\n  {{\n" + "".join(f"    {line}\n" for line in lines if line) + "  }\n]\n"


_MODEL = "{name}/1/model.onnx"
_FILES = (_MODEL, "{name}/config.pbtxt", "{name}/labels.txt")
TRITON = Deployment("onnx", _MODEL, _FILES, check_name, _complete)
