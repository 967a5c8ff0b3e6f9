"""Whatever happened to a file: it is read or refused, and neither takes long, much memory or the process."""

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sample_files import FORMATS

HERE = Path(__file__).parent
CASES, WORKERS = 10_000, 2


def run(program, first, *arguments):
    """Tries every second case; a case that ends the worker is a problem, and the next worker goes on after it."""
    problems = []
    while first < CASES:
        worker = subprocess.run(
            [sys.executable, HERE / program, *arguments, str(first), str(CASES), str(WORKERS)],
            capture_output=True, text=True, timeout=1800,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        lines = worker.stdout.splitlines()
        problems += [line for line in lines if not line.isdecimal()]
        if worker.returncode == 0:
            break
        assert lines, worker.stderr
        last = int(lines[-1].split()[0])
        problems.append(f"{last} ended the process ({worker.returncode}): {worker.stderr[-500:]}")
        first = last + WORKERS
    return problems


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory as Linux does")
def test_damaged_files_of_every_format(tmp_path):
    for name, (write, package) in FORMATS.items():
        if importlib.util.find_spec(package):
            (tmp_path / name).mkdir()
            write(tmp_path / name / name)
    check("fuzz_worker.py", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measures memory as Linux does")
def test_images_json_notes_and_archives_that_were_changed():
    pytest.importorskip("h5py")
    check("structured_fuzz.py")


def check(program, *arguments):
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda first: run(program, first, *arguments), range(WORKERS))
        problems = [problem for problems in found for problem in problems]
    assert not problems, "\n".join(problems[:20])
