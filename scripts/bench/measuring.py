"""How measurements are made: by turns, in fresh processes, with medians and quartiles."""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

PACKAGES = (
    "efficientnet", "numpy", "keras", "tensorflow", "tf_keras", "jax", "torch", "timm", "efficientnet_pytorch",
    "openvino", "onnxruntime", "onnx", "ai-edge-litert", "nncf", "safetensors", "scikit-image",
)  # fmt: skip


class Case(NamedTuple):
    """Something to compare: each function makes one measurement, in seconds or (``unit="MB"``) in bytes."""

    what: str
    ours: Callable[[], float]
    peer: Callable[[], float]
    unit: str = "s"


class Row(NamedTuple):
    """All measurements of a case, in the order in which they were made."""

    what: str
    unit: str
    ours: list[float]
    peer: list[float]

    def ratios(self) -> list[float]:
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)]


class Effort(NamedTuple):
    """A case is measured at least ``pairs`` times, and goes on until ``seconds`` are over."""

    pairs: int
    seconds: float


def compare(case: Case, effort: Effort) -> Row:
    """Measure A B A B …"""
    row = Row(case.what, case.unit, [], [])
    end = time.perf_counter() + effort.seconds
    while len(row.peer) < effort.pairs or time.perf_counter() < end:
        row.ours.append(case.ours())
        row.peer.append(case.peer())
    return row


def timed(function: Callable[..., Any], *arguments: Any) -> Callable[[], float]:
    """Return a measurement: the seconds that a call takes."""

    def measure() -> float:
        start = time.perf_counter()
        function(*arguments)
        return time.perf_counter() - start

    return measure


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a function in a process where nothing is imported, compiled or cached before."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def bare_seconds(code: str, environment: Mapping[str, str] = MappingProxyType({})) -> tuple[float, set[str]]:
    """Return the seconds that statements take in a bare interpreter, without its start, and all it has imported."""
    before, after = "import sys, time; start = time.perf_counter()", "time.perf_counter() - start, *sys.modules"
    timed_code = f"{before}; {code}; print(); print({after})"
    command = [sys.executable, "-c", timed_code]
    run = subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, text=True)
    seconds, *imported = run.stdout.splitlines()[-1].split()
    return float(seconds), set(imported)


def limit_cores(count: int) -> None:
    """Keep this process, and those that it starts, on so many processor cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


_STATUS = Path("/proc/self/status")


def peak_memory() -> float:
    """Return the most bytes that this process has held so far."""
    if _STATUS.exists():  # unlike getrusage it does not count what the process was forked from
        return _of_status("VmHWM")
    peak_size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak_size * (1 if sys.platform == "darwin" else 1024))


def held_memory(process: int | str = "self") -> float:
    """Return the bytes that a process holds now, on Linux."""
    return _of_status("VmRSS", Path(f"/proc/{process}/status"))


def _of_status(name: str, status: Path = _STATUS) -> float:
    (found,) = [line for line in status.read_text().splitlines() if line.startswith(f"{name}:")]
    return float(found.split()[1]) * 1024


def machine() -> str:
    """Processor, cores and versions, in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    vectors = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "no AVX")
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    processor = f"{names[0]} ({vectors})" if names else platform.machine()
    return f"{processor}, {os.cpu_count()} cores; {', '.join(versions)}"


def show(value: float) -> str:
    """Three digits, but never an exponent."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def spread(values: Sequence[float], show: Callable[[float], str] = show) -> str:
    """Return the median, and the quartiles around it."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{show(middle)} ({show(low)}–{show(high)})"


def table_line(row: Row) -> str:
    """Return a row of the Markdown table; the ratio is that of each pair of neighbours, its median over all pairs."""
    if row.unit == "MB":
        unit, scale = "MB", 1e-6
    else:
        unit, scale = ("s", 1.0) if statistics.median(row.peer) >= 1 else ("ms", 1e3)
    ours, peer = (f"{spread([value * scale for value in values])} {unit}" for values in (row.ours, row.peer))
    return f"| {row.what:<48} | {ours:<28} | {peer:<28} | {spread(row.ratios(), '{:.2f}'.format):<18} |"
