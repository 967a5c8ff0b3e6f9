"""OpenVINO's tools for conversion, which it imports with itself: a tenth of the time from a command to a prediction."""

from __future__ import annotations

import importlib
import sys
from typing import Any

_TOOLS = "openvino.tools.ovc"


def leave_out() -> None:
    """Let OpenVINO be imported without its tools, for which it allows; :func:`convert_model` fetches them."""
    sys.modules[_TOOLS] = None  # type: ignore[assignment]


def convert_model(source: Any) -> Any:
    """Call ``openvino.convert_model``, whether the tools were left out or not."""
    if _TOOLS in sys.modules and sys.modules[_TOOLS] is None:
        del sys.modules[_TOOLS]
    return importlib.import_module(_TOOLS).convert_model(source)
