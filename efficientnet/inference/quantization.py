"""Graphs in 8-bit integers, by nncf."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from ..common.packages import missing
from ..common.private_imports import import_privately
from ..keras_graph import openvino


def quantize(graph: Any, inputs: Sequence[Any], floating: Sequence[str] = ()) -> Any:
    """Quantize a graph: weights and activations in 8 bits, with the ranges of the activations for some inputs.

    Args:
        graph: OpenVINO or ONNX graph in float32, whose operations are named ``LAYER:OPERATION``. It stays unchanged.
        inputs: Inputs of the graph as its runtime takes them; a few hundred of the kind that it will see.
        floating: Names of the layers that stay in float32.

    Raises:
        ImportError: NNCF is not installed; the message names the extra.
    """
    if find_spec("nncf") is None:
        raise missing("precision='int8' needs nncf", "int8")
    runtime, nncf = import_privately("openvino"), import_privately("nncf")
    from nncf.quantization import advanced_parameters as advanced
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    # Measured on Lite0: a range for each channel, and the mean of the images' ranges, both of which nncf takes by
    # default, cut off too much of other images; and 7 bits for the first layer are too few.
    parameters = advanced.AdvancedQuantizationParameters(
        activations_quantization_params=advanced.QuantizationParameters(per_channel=False),
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        overflow_fix=advanced.OverflowFix.DISABLE,
    )
    ignored = nncf.IgnoredScope(patterns=[f"{re.escape(name)}:.*" for name in floating], validate=False)
    logging.getLogger("nncf").setLevel(logging.ERROR)  # it reports each layer that stays in float
    with contextlib.redirect_stdout(sys.stderr):  # its progress bars do not get between predictions
        return openvino.in_own_thread(
            lambda: nncf.quantize(
                graph,
                nncf.Dataset(list(inputs)),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(inputs),
                # The exact one fails on ONNX graphs with layers in float, by a KeyError (nncf 3.4).
                fast_bias_correction=not isinstance(graph, runtime.Model),
                ignored_scope=ignored,
                advanced_parameters=parameters,
            )
        )
