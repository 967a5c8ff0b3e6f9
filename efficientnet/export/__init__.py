"""Export of a network to other runtimes, with a check that its predictions there equal those of Keras.

    from efficientnet.export import export

    report = export(model, "b0.onnx", "onnx")
    print(report)

Importing this imports no framework and no runtime.
"""

from ..exported_files.metadata import read_metadata
from ..keras_graph.detours import litert_bytes, onnx_bytes
from .exporting import ExportReport, export
from .options import FORMATS, PRECISIONS

__all__ = ["FORMATS", "PRECISIONS", "ExportReport", "export", "litert_bytes", "onnx_bytes", "read_metadata"]
