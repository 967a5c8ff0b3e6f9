"""Reads damaged files, in a process of its own since its end is one of the things that may go wrong.

    python fuzz_worker.py SAMPLES FIRST LAST STEP

SAMPLES holds a folder for each valid file, named as the file in it that is to be opened. Which file is damaged how
follows from its number alone. Prints each number before it is tried, and after it what went wrong, if anything.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from efficientnet.checkpoints import CheckpointError, open_checkpoint

SECONDS = 5  # of computing
MEMORY = 512 * 2**20
EXTREMES = (0, 1, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**60, 2**63 - 1, 2**63, 2**64 - 1)
FORBIDDEN = {"os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect", "ctypes.dlopen"}


def memory_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder in memory where the system has one: a disk takes longer than the reading."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


def limit_time(seconds):
    """A signal ends the process after so many seconds of computing, or of hanging for twenty times as long.

    Waiting for a busy machine is not a fault, and so the two differ. 0 stops the clocks.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 20 * seconds)


def damage(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """Does one thing that happens to files, or several."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 8, 16, 64, 512))
        match rng.randrange(8):
            case 0 | 1:
                for _ in range(rng.choice((1, 1, 4, 32))):
                    if data:
                        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 2:
                data[at : at + length] = bytes([rng.choice((0, 0xFF, 0x7F, 0x80, 0x20))]) * length
            case 3:
                data[at : at + length] = rng.randbytes(length)
            case 4:
                data[at:at] = rng.randbytes(length)
            case 5:
                if rng.random() < 0.5:
                    del data[at:]
                else:
                    del data[at : at + length]
            case 6:
                width = rng.choice((1, 2, 4, 8))
                value = (rng.choice(EXTREMES) + rng.choice((0, 0, 1, -1))) % 2 ** (8 * width)
                at -= at % rng.choice((1, width))
                data[at : at + width] = value.to_bytes(width, rng.choice(("little", "little", "big")))
            case 7:
                source = rng.choice((bytes(data), other))
                start = rng.randrange(len(source) + 1)
                data[at : at + length] = source[start : start + length]
    return bytes(data)


def attempt(path: Path) -> str:
    """Reads everything in a file; tells what is wrong about how that went."""
    try:
        for name, stored in open_checkpoint(path).arrays.items():
            try:
                array = stored.read()
            except CheckpointError:
                continue
            if (array.shape, array.dtype) != (stored.shape, stored.dtype):
                return f"{name} is {array.dtype}{array.shape}, not {stored.dtype}{stored.shape} as told"
            array.sum()  # touches every number
    except (CheckpointError, OSError):
        pass
    except BaseException as error:
        return repr(error)[:300]
    return ""


def watch() -> Callable[[], list[str]]:
    """Limits what this process may use, and tells of what it does that reading a file never needs."""
    done: list[str] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in FORBIDDEN:
            done.append(event)
            raise RuntimeError(f"A file made its reader do {event}{arguments!r}")

    sys.addaudithook(hook)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    return lambda: done


def main(samples: Path, first: int, last: int, step: int) -> None:
    sources = sorted(samples.iterdir())
    with memory_folder() as folder:
        targets = [Path(shutil.copytree(source, Path(folder) / source.name)) for source in sources]
        contents = [{path: path.read_bytes() for path in sorted(target.iterdir())} for target in targets]
        for target in targets:
            checkpoint = open_checkpoint(target / target.name)
            assert checkpoint.arrays and all(stored.read() is not None for stored in checkpoint.arrays.values())
        done = watch()
        for number in range(first, last, step):
            rng = random.Random(number)
            target, content = targets[number % len(targets)], contents[number % len(targets)]
            victim = rng.choice(list(content))
            other = rng.randrange(len(targets))
            victim.write_bytes(damage(content[victim], rng, contents[other][targets[other] / targets[other].name]))
            print(number, flush=True)
            limit_time(SECONDS)
            problem = attempt(target / target.name)
            limit_time(0)
            if problem or done():
                print(number, target.name, problem, *done(), flush=True)
                done().clear()
            victim.write_bytes(content[victim])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
