"""Memory of freed arrays, which stays with the process for the next ones."""

from __future__ import annotations

import functools

import numpy as np

# Nearly 32 MB, the largest block by which glibc raises its limits; larger ones always go back to the system.
_LARGEST = 2**25 - 2**16


@functools.cache
def keep_freed_memory() -> None:
    """Have glibc keep the memory of freed arrays instead of returning it to the system each time.

    By default it gets blocks of 128 kB and more from the system and returns them. Reading a photograph then takes over
    a thousand page faults, nearly half of the time. The limit rises to the size of the largest block that was ever
    freed, as mallopt(3) says of M_MMAP_THRESHOLD, so one is allocated, left untouched and freed. Other C libraries
    have no such limit, and there it does nothing.
    """
    np.empty(_LARGEST, np.uint8)
