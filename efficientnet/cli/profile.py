"""The command ``efficientnet profile``: what a model costs, block by block."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..common.text import notify, plain, print_json
from ..family.variants import get_variant
from ..keras_files.opening import is_saved_model
from ..reports.tables import table
from . import model_options
from .exit_statuses import SUCCESS
from .number_types import positive

if TYPE_CHECKING:
    from ..keras_graph.profile import LayerCost, Profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``profile`` and its function."""
    parser.description = (
        "Counts a model block by block: trainable parameters, multiply-adds of its convolutions and dense "
        "layers for one image, activations, which are the numbers that these layers give out, and the memory of all "
        "layers' outputs."
    )
    parser.add_argument("model", metavar="MODEL", help="variant, its .json file, or a saved model (.keras, .h5)")
    parser.add_argument("--size", type=positive, metavar="PIXELS", help="side of the input (default: the model's)")
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=1,
        metavar="N",
        help="images whose outputs to count the memory of (default: 1)",
    )
    parser.add_argument("--layers", action="store_true", help="list every layer instead of blocks")
    parser.add_argument("--measure", action="store_true", help="time each on this machine too (needs OpenVINO)")
    parser.add_argument("--json", action="store_true", help="print all layers as one JSON object")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..keras_graph.profile import measure, profile

    model = _load(arguments)
    shapes = _shapes(model, arguments)
    found = profile(model, arguments.batch_size, shapes)
    seconds = dict(measure(model, arguments.batch_size, shapes)) if arguments.measure else None
    if arguments.json:
        print_json(_as_json(found, seconds))
    else:
        print(_as_table(found, seconds, arguments.layers))
    if found.uncounted:
        named = ", ".join(f"{layer.name} ({layer.kind})" for layer in found.uncounted)
        notify(f"the multiply-adds of these layers are unknown and not counted: {plain(named)}")
    return SUCCESS


def _shapes(model: Any, arguments: argparse.Namespace) -> list[tuple[Any, ...]]:
    """Return the shape of each input, without the batch; height and width are those given.

    Raises:
        ValueError: The model takes images of any size, and none is given; or a size is given, and it takes no images.
    """
    from ..keras_graph.walk import data_formats, functional

    sides = slice(1, 3) if data_formats(model) == {"channels_first"} else slice(0, 2)
    shapes = [tuple(tensor.shape)[1:] for tensor in functional(model).inputs]
    if arguments.size is None:
        if any(None in shape for shape in shapes):
            raise ValueError(f"{arguments.model} takes images of any size: give --size, such as --size 224.")
        return shapes
    inputs = [list(shape) for shape in shapes]
    images = [shape for shape in inputs if len(shape) == 3]
    if not images:
        raise ValueError(f"{arguments.model} takes no images, but {shapes}: leave out --size.")
    for image in images:
        image[sides] = [arguments.size, arguments.size]
    return [tuple(shape) for shape in inputs]


def _load(arguments: argparse.Namespace) -> Any:
    from .. import keras

    if is_saved_model(arguments.model):
        return keras.load_model(arguments.model, compile=False)
    model_options.report_folder(arguments.model)
    variant = get_variant(arguments.model)
    return keras.create(
        variant,
        weights=None,
        classes=variant.classes,
        input_shape=(arguments.size, arguments.size, 3) if arguments.size is not None else None,
    )


def _as_json(found: Profile, seconds: dict[str, float] | None) -> dict[str, Any]:
    layers = [
        {
            "name": layer.name, "kind": layer.kind, "block": layer.block, "output_shape": layer.output_shape,
            "parameters": layer.parameters, "macs": layer.macs, "activations": layer.activations,
            "output_bytes": layer.output_bytes,
            **({} if seconds is None else {"seconds": seconds.get(layer.name, 0.0)}),
        }
        for layer in found.layers
    ]  # fmt: skip
    totals = {name: getattr(found, name) for name in ("parameters", "macs", "activations", "output_bytes")}
    return {"model": found.name, "batch_size": found.batch_size, **totals, "layers": layers}


def _as_table(found: Profile, seconds: dict[str, float] | None, by_layer: bool) -> str:
    header = ["", "output", "parameters", "multiply-adds", "share", "activations", "memory"]
    rows = [_row(cost, found.macs) for cost in (found.layers if by_layer else found.blocks())]
    rows.append([
        "in all", "", f"{found.parameters:,}", f"{found.macs:,}", "", f"{found.activations:,}",
        _megabytes(found.output_bytes),
    ])  # fmt: skip
    if seconds is not None:
        header.append("milliseconds")
        in_block: dict[str, float] = {}
        for name, block in {layer.name: layer.name if by_layer else layer.block for layer in found.layers}.items():
            in_block[block] = in_block.get(block, 0.0) + seconds.get(name, 0.0)
        # A layer's time is that of all its calls: it stands with the first.
        rest = sum(seconds.values()) - sum(in_block.values())
        rows.insert(-1, ["input and output", *[""] * (len(header) - 2)])
        for row, value in zip(
            rows, (*(in_block.pop(row[0], 0.0) for row in rows[:-2]), rest, sum(seconds.values())), strict=True
        ):
            row.append(f"{1000 * value:.3f}")
    return table(header, rows)


def _row(cost: LayerCost, macs: int) -> list[str]:
    known = cost.macs is not None
    return [
        cost.name, " × ".join(map(str, cost.output_shape)), f"{cost.parameters:,}",
        f"{cost.macs:,}" if known else "unknown", f"{(cost.macs or 0) / max(1, macs):.1%}" if known else "",
        f"{cost.activations:,}", _megabytes(cost.output_bytes),
    ]  # fmt: skip


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
