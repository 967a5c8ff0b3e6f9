"""Reading images takes memory from the system once, and not again for each image."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

PANDA = Path(__file__).resolve().parents[2] / "misc" / "panda.jpg"
PROGRAM = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from efficientnet.images.loading import load_image
from efficientnet.images.resizing import center_crop_and_resize

def read(path):
    center_crop_and_resize(load_image(path), 64)

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

with ThreadPoolExecutor(2) as threads:
    list(threads.map(read, sys.argv[1:] * 10))
    before = page_faults()
    list(threads.map(read, sys.argv[1:] * 20))
    print((page_faults() - before) / 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep freed memory or do not")
def test_an_image_takes_few_page_faults():
    run = subprocess.run([sys.executable, "-c", PROGRAM, PANDA], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 200
