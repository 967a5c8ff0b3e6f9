"""OpenVINO and nncf, imported so that they send their makers nothing."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

_TELEMETRY = "openvino_telemetry"
_lock = threading.Lock()  # two threads would each take what the other has hidden for what was there


def import_privately(name: str) -> Any:
    """Import ``openvino`` or ``nncf`` without the package by which it reports each import and call to its makers.

    Both do so, unasked, where that package is found. What has been imported before stays unchanged.
    """
    with _lock:
        found = {_TELEMETRY: sys.modules[_TELEMETRY]} if _TELEMETRY in sys.modules else {}
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            return importlib.import_module(name)
        finally:
            del sys.modules[_TELEMETRY]
            sys.modules.update(found)
