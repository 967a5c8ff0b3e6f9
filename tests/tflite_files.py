"""Small .tflite files with TFLite Metadata, made without TensorFlow and Google's writers."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from exported_models import kernel


def write_tflite(
    path: Path,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    labels: str | bytes | None = None,
    named: str = "labels.txt",
    outputs: int = 5,
    input_type: str = "FLOAT32",
) -> Path:
    """Write a network of (batch, 32, 32, 3), whose outputs are the softmax of the means of the channels @ ``kernel()``.

    Args:
        path: Path of the file.
        mean, std: Normalization that it records, if any.
        labels: Content of the label file that it records, if any.
        named: Name that it records of this file, which is labels.txt.
        outputs: Number of outputs.
        input_type: Type of the input.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def make(kind: str, **fields: Any) -> Any:
        made = getattr(schema, f"{kind}T")()
        for name, value in fields.items():
            setattr(made, name, value)
        return made

    weights = {"axes": np.array([1, 2], np.int32), "w": np.ascontiguousarray(kernel(outputs=outputs).T)}
    shapes = {"x": (1, 32, 32, 3), "floats": (1, 32, 32, 3), "means": (1, 3), "logits": (1, outputs), "y": (1, outputs)}
    buffers = [make("Buffer"), *(make("Buffer", data=list(values.tobytes())) for values in weights.values())]
    types = {"axes": "INT32", "x": input_type}
    tensors = [
        make("Tensor", name=name, shape=list(shape), type=getattr(schema.TensorType, types.get(name, "FLOAT32")),
             shapeSignature=[-1, *shape[1:]])
        for name, shape in shapes.items()
    ] + [
        make("Tensor", name=name, shape=list(values.shape), buffer=number,
             type=getattr(schema.TensorType, types.get(name, "FLOAT32")))
        for number, (name, values) in enumerate(weights.items(), start=1)
    ]  # fmt: skip
    place = {tensor.name: number for number, tensor in enumerate(tensors)}
    steps = [
        ("CAST", ["x"], "floats", "CastOptions", {}),
        ("MEAN", ["floats", "axes"], "means", "ReducerOptions", {}),
        ("FULLY_CONNECTED", ["means", "w"], "logits", "FullyConnectedOptions", {}),
        ("SOFTMAX", ["logits"], "y", "SoftmaxOptions", {"beta": 1.0}),
    ]
    codes = [
        make("OperatorCode", builtinCode=code, deprecatedBuiltinCode=code, version=1)
        for code in (getattr(schema.BuiltinOperator, step[0]) for step in steps)
    ]
    operators = [
        make("Operator", opcodeIndex=number, inputs=[place[name] for name in given], outputs=[place[found]],
             builtinOptionsType=getattr(schema.BuiltinOptions, options), builtinOptions=make(options, **values))
        for number, (_, given, found, options, values) in enumerate(steps)
    ]  # fmt: skip
    graph = make("SubGraph", tensors=tensors, inputs=[place["x"]], outputs=[place["y"]], operators=operators)
    model = make("Model", version=3, operatorCodes=codes, subgraphs=[graph], buffers=buffers)
    if mean is not None or labels is not None:
        metadata = tflite_metadata(mean, std, None if labels is None else named)
        buffers.append(make("Buffer", data=list(metadata)))
        model.metadata = [make("Metadata", name="TFLITE_METADATA", buffer=len(buffers) - 1)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    if labels is not None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("labels.txt", labels)
    return path


def tflite_metadata(mean: Sequence[float] | None, std: Sequence[float] | None, label_file: str | None) -> bytes:
    """The metadata alone."""
    import flatbuffers

    builder = flatbuffers.Builder(256)

    def table(**fields: Any) -> Any:
        """Fields are f0, f1 and so on: offsets, or numbers of one byte."""
        builder.StartObject(8)
        for name, (kind, value) in fields.items():
            slot = int(name[1:])
            (builder.PrependByteSlot if kind == "byte" else builder.PrependUOffsetTRelativeSlot)(slot, value, 0)
        return builder.EndObject()

    def listed(*tables: Any) -> Any:
        builder.StartVector(4, len(tables), 4)
        for each in reversed(tables):
            builder.PrependUOffsetTRelative(each)
        return "offset", builder.EndVector()

    def floats(values: Sequence[float]) -> Any:
        return "offset", builder.CreateNumpyVector(np.array(values, np.float32))

    given, found = {}, {}
    if mean is not None:
        options = table(f0=floats(mean), f1=floats(std or ()))
        calibration = table(f0=("byte", 2))  # of another kind, and so passed over
        given = {"f4": listed(calibration, table(f0=("byte", 1), f1=("offset", options)))}
    if label_file is not None:
        notes = table(f0=("offset", builder.CreateString("notes.txt")), f2=("byte", 1))
        labels = table(f0=("offset", builder.CreateString(label_file)), f2=("byte", 2))
        found = {"f6": listed(notes, labels)}
    inputs, outputs = listed(table(**given)), listed(table(**found))
    graphs = listed(table(f2=inputs, f3=outputs))
    builder.Finish(table(f3=graphs), b"M001")
    return bytes(builder.Output())
