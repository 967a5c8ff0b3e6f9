"""The command ``efficientnet inspect`` for exported models: what they take and give, and what they record."""

from __future__ import annotations

import argparse
from typing import Any

from ..common.text import plain, print_json
from ..exported_files.formats import files_of, require_runtime
from ..images.pixel_scaling import formula
from ..model_io.outputs import have_names
from . import model_options
from .exit_statuses import SUCCESS

_MOST_NAMES = 8


def report(arguments: argparse.Namespace, format: str) -> int:
    """Open an exported model in its runtime, and print what it is.

    Args:
        arguments: Command line of ``inspect``.
        format: Format of the file.

    Raises:
        ImportError: Its runtime is not installed.
        OSError, ValueError: It cannot be opened, takes no images, or an option is for files of weights.
    """
    from ..inference.describing import describe_input

    if arguments.variant is not None:
        raise ValueError(f"--variant={arguments.variant}: {arguments.file} is a whole model. Leave the option out.")
    source = model_options.find_source(arguments.file, None, model_options.network_facts(arguments))
    assert source.exported is not None
    file = source.exported
    model, spec = file.open()
    (given,), recorded, notes = model.ports.inputs, file.metadata or {}, file.notes(spec)
    about = describe_input(spec, given.name, given.dtype, given.shape[0])
    facts: dict[str, Any] = {
        "file": str(file.path),
        "format": file.format,
        "runtime": require_runtime(file.format, "inspect"),
        "bytes": sum(path.stat().st_size for path in files_of(file.path, file.format)),
        "input": about.facts,
        "outputs": [{"name": port.name, "dtype": port.dtype, "shape": port.shape} for port in model.ports.outputs],
        "activation": spec.activation,
        "kind": spec.kind,
        "class names": [label for _, label in spec.classes] if have_names(spec.classes) else None,
        "preprocessing": spec.scaling,
        "crop": spec.crop,
        "interpolation": spec.interpolation,
        "producer": recorded.get("producer"),
        "precision": recorded.get("precision"),
        "verification": recorded.get("verification"),
    }
    if arguments.json:
        print_json(facts)
        return SUCCESS
    named = f": {_named(facts['class names'])}" if facts["class names"] else ", without names"
    rows = [
        ("file", facts["file"]),
        ("format", f"{file.format}, {facts['bytes'] / 1e6:.1f} MB"),
        ("runtime", facts["runtime"]),
        ("input", about.text),
        *(("output", f"{port}, {spec.activation}" if spec.outputs else str(port)) for port in model.ports.outputs),
        ("classes", f"{len(spec.classes)}{named}{_source(file.class_names, recorded or notes.labels)}"
         if spec.classes else "none"),
        ("scaling", "unknown: give --preprocessing" if spec.scaling is None else
         formula(spec.scaling) + _source(file.preprocessing, recorded or notes.scaling)),
        ("crop", f"{spec.crop:.4g}, {spec.interpolation}{_source(file.crop, recorded)}"),
        ("written", _written(recorded, bool(notes.labels or notes.scaling))),
    ]  # fmt: skip
    for name, value in rows:
        print(plain(f"{name:<9} {value}"))
    for remark in spec.remarks:
        print(plain(f"but       it {remark.text}"))
    return SUCCESS


def _named(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (f", … and {len(names) - _MOST_NAMES} more" * (len(names) > _MOST_NAMES))


def _source(given: Any, recorded: Any) -> str:
    """Return where a value comes from."""
    return " (given)" if given is not None else " (recorded)" if recorded else " (assumed)"


def _written(recorded: dict[str, Any], is_noted: bool) -> str:
    """Describe who wrote a file, and how far its predictions were from Keras' then."""
    if not recorded:
        return "by another program" + (
            ", with TFLite Metadata" if is_noted else ": it records neither classes nor scaling"
        )
    found = recorded.get("verification") or {}
    compared = f"; in {found['runtime']}, {found['images']} predictions differed from Keras' by up to " if found else ""
    return f"by {recorded.get('producer')}, {recorded.get('precision')}{compared}" + (
        f"{found['difference']:.2g}" if found else ""
    )
