"""The kernels that OpenVINO computes convolutions with on processors that have AVX2 but no AVX-512.

By itself it takes oneDNN's kernels for batches of small matrix products there (2026.4). Those for blocks of eight
channels take 8 to 15% less time for one image or two, as measured with B0, B3 and Lite0 on two cores of an AMD EPYC.
Only dense convolutions of many channels, as V2 has them, are faster as OpenVINO computes them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..common.private_imports import import_privately

_SLOWER = "brgconv_avx2"
_DEPTHWISE, _DENSE = "cpu:jit_avx2_dw", "cpu:jit_avx2_1x1,cpu:jit_avx2"  # by preference
_PRIORITY = "primitives_priority"  # attribute of an operation, by which OpenVINO chooses
_FEW = 4  # channels of an image


def has_slower_kernels(compiled: Any) -> bool:
    """Return whether OpenVINO has chosen the slower kernels for a compiled graph."""
    notes = (operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops())
    return any(str(one["primitiveType"].get()).startswith(_SLOWER) for one in notes if "primitiveType" in one)


def compile_faster(core: Any, graph: Any, options: Mapping[str, Any]) -> Any:
    """Compile a graph whose convolutions prefer the kernels for blocks of channels.

    Python cannot set the attribute that says so (2026.4): the graph is written into a temporary folder, and read again.

    Raises:
        OSError: There is no place for the temporary folder.
        RuntimeError: The graph cannot be written there.
    """
    openvino = import_privately("openvino")
    preferred = {operation.get_friendly_name(): _preferred(operation) for operation in graph.get_ops()}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "graph.xml")
        openvino.save_model(graph, path, compress_to_fp16=False)
        tree = ElementTree.parse(path)
        for layer in tree.iterfind("layers/layer"):
            if kernels := preferred.get(layer.get("name", "")):
                notes = layer.find("rt_info")
                notes = ElementTree.SubElement(layer, "rt_info") if notes is None else notes
                ElementTree.SubElement(notes, "attribute", name=_PRIORITY, version="0", value=kernels)
        tree.write(path)
        return core.compile_model(core.read_model(path), "CPU", options)


def _preferred(operation: Any) -> str | None:
    """Return the kernels that an operation prefers; None to leave the choice to OpenVINO."""
    kind = operation.get_type_name()
    if kind == "GroupConvolution":
        return _DEPTHWISE
    if kind != "Convolution":
        return None
    kernels = operation.input(1).get_partial_shape()
    if kernels.is_dynamic:
        return None
    _, channels, *sides = kernels.to_shape()
    return _DENSE if set(sides) == {1} or channels <= _FEW else None
