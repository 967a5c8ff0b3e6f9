"""The Open Inference Protocol, version 2: what its requests and responses hold.

Arrays are raw pixels of the model's own size, 0..255. Image files come as ``BYTES``, each in Base64.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from .. import __version__
from ..model_io.spec import InputSpec
from .gathering import Prepared
from .limits import Limits
from .requests import BAD_REQUEST

_TYPES = ("UINT8", "FP32")
NO_BINARY = "Binary data is not understood: send numbers in JSON (binary_data=False in tritonclient)."
INPUT, OUTPUT = "images", "outputs"


def server_metadata() -> dict[str, Any]:
    """Return the response to ``GET /v2``."""
    return {"name": "efficientnet", "version": __version__, "extensions": []}


def model_metadata(name: str, spec: InputSpec) -> dict[str, Any]:
    """Return the response to ``GET /v2/models/NAME``."""
    shape = [-1, *(-1 if side is None else side for side in spec.image_shape(1)[1:])]
    return {
        "name": name, "versions": [], "platform": "efficientnet",
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": shape}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, spec.outputs]}],
    }  # fmt: skip


def read_inputs(request: Mapping[str, Any], spec: InputSpec, limits: Limits) -> Sequence[Any]:
    """Return the images of an inference request: arrays of pixels, or contents of files.

    Raises:
        HTTPException: The request is not as the protocol has it, or its arrays are not the model's.
    """
    _check_outputs(request.get("outputs"))
    inputs = request.get("inputs")
    if not (isinstance(inputs, list) and len(inputs) == 1 and isinstance(inputs[0], dict)):
        raise _wrong("inputs: expected a list of one tensor.")
    if (name := inputs[0].get("name", INPUT)) != INPUT:
        raise _wrong(f"inputs: the model takes {INPUT!r}, got {str(name)[:80]!r}.")
    shape, kind, data = (inputs[0].get(key) for key in ("shape", "datatype", "data"))
    if not (isinstance(shape, list) and shape and all(type(side) is int and 0 < side < 2**31 for side in shape)):
        raise _wrong(f"shape: expected a list of positive whole numbers, got {str(shape)[:80]}.")
    if shape[0] > limits.images:
        raise _wrong(f"shape: {shape[0]} images, and {limits.images} are accepted in a request.")
    if kind == "BYTES":
        return _files(shape, data)
    if kind not in _TYPES:
        raise _wrong(f"datatype: expected {', '.join(_TYPES)} or BYTES, got {str(kind)[:80]}.")
    expected = list(spec.image_shape(shape[0]))
    if shape != expected:
        raise _wrong(f"shape: the model takes {expected}, got {str(shape)[:80]}.")
    array = _numbers(data, shape)
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 255):
        raise _wrong("data: expected pixels of 0 to 255.")
    if kind == "UINT8" and (array % 1).any():
        raise _wrong("data: expected whole numbers, as the datatype is UINT8; FP32 has fractions.")
    return [Prepared(pixels) for pixels in array.astype(np.float32)]


def _check_outputs(asked: Any) -> None:
    """Check that the tensors that a request asks for are what the response holds; all of them where it names none."""
    if not (asked is None or (isinstance(asked, list) and all(isinstance(tensor, dict) for tensor in asked))):
        raise _wrong(f'outputs: expected a list of tensors, such as {{"name": "{OUTPUT}"}}.')
    for tensor in asked or ():
        if tensor.get("name") != OUTPUT:
            raise _wrong(f"outputs: the model gives {OUTPUT!r}, got {str(tensor.get('name'))[:80]!r}.")
        parameters = tensor.get("parameters") or {}
        # JSON is also right for who would take binary data; what other parameters ask for is something else.
        if not isinstance(parameters, dict) or parameters.keys() - {"binary_data"}:
            raise _wrong(
                f"outputs: parameters other than binary_data are not understood, got {str(parameters)[:80]}. "
                "POST /predict returns the best classes."
            )


def _numbers(data: Any, shape: list[int]) -> NDArray[np.float64]:
    """Return the numbers of a tensor, which come as one list, or as lists in lists of its shape."""
    if data is None:
        raise _wrong(f"data: expected a list of numbers. {NO_BINARY}")
    # Not at once as numbers, for which texts of digits, True and False are numbers, too.
    items = np.array(data, object)
    if not set(map(type, items.flat)) <= {int, float}:
        raise _wrong("data: expected a list of numbers.")
    if items.size != math.prod(shape):
        raise _wrong(f"data: expected {math.prod(shape)} numbers, got {items.size}.")
    if items.shape not in ((items.size,), tuple(shape)):
        raise _wrong(f"data: expected one list, or lists of the shape {shape}, got those of {list(items.shape)}.")
    try:
        return items.astype(np.float64).reshape(shape)
    except OverflowError:
        raise _wrong("data: expected pixels of 0 to 255.") from None


def _files(shape: list[int], data: Any) -> list[bytes]:
    if not (isinstance(data, list) and len(shape) == 1 and len(data) == shape[0]):
        raise _wrong("BYTES: expected a list with a string for each image, and a shape of its length.")
    try:
        return [base64.b64decode(text, validate=True) for text in data]
    except (binascii.Error, TypeError, ValueError):
        raise _wrong("BYTES: expected the content of image files in Base64.") from None


def response(name: str, request: Mapping[str, Any], outputs: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Return the response to an inference request."""
    array = np.stack(outputs)
    tensor = {"name": OUTPUT, "datatype": "FP32", "shape": list(array.shape), "data": array.reshape(-1).tolist()}
    found = {"model_name": name, "outputs": [tensor]}
    return found | {"id": request["id"]} if isinstance(request.get("id"), str) else found


def _wrong(message: str) -> HTTPException:
    return HTTPException(BAD_REQUEST, message)
