"""How many processors a process may use."""

import os

import pytest

from efficientnet.common.processors import processors


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to processors")
def test_a_process_that_is_bound_to_one_processor_has_one():
    before = os.sched_getaffinity(0)
    assert processors() == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, before)
