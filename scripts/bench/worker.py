"""One contender in a separate process: ``python -m bench.worker CONTENDER SETTINGS``, settings as JSON.

Each line on stdin is a batch size; each line on stdout the measurement, as JSON: the seconds per image
that it took, once for each call of the turn, and the process' peak memory in bytes, or why there are none.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from .contenders import CONTENDERS, ForBatch, Measure, Settings
from .file_contenders import FILE_CONTENDERS
from .measuring import limit_cores, peak_memory

# In the root of a clone: every contender but 1.1.1.
INSTALL = "pip install -e '.[benchmark]' && pip install --no-deps -r tests/peers.txt"


def turn(measure: Measure, seconds: float) -> list[float]:
    """Measure until the time is over, at least once; the first call only wakes threads and caches."""
    end = time.perf_counter() + seconds
    measure()
    found = [measure()]
    while time.perf_counter() < end:
        found.append(measure())
    return found


def main() -> None:
    name, settings = sys.argv[1], Settings(**json.loads(sys.argv[2]))
    limit_cores(settings.threads)
    # What libraries print must not come between the measurements.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    open_contender = (CONTENDERS | FILE_CONTENDERS)[name]
    contender: ForBatch | None = None
    opened: dict[int, Measure] = {}
    for line in sys.stdin:
        batch = int(line)
        measured: dict[str, Any]
        try:
            contender = contender or open_contender(settings)
            if batch not in opened:
                opened[batch] = contender(batch)
            measured = {"seconds": turn(opened[batch], settings.seconds), "memory": peak_memory()}
        except ModuleNotFoundError as error:
            measured = {"skipped": f"needs {error.name}: {INSTALL}"}
        except Exception as error:  # whatever it is, the others go on
            lines = str(error).strip().splitlines() or [""]
            measured = {"skipped": f"{type(error).__name__}: {lines[0]}"}
        output.write(json.dumps(measured) + "\n")
        output.flush()


if __name__ == "__main__":
    main()
