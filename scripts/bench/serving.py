"""Part "serving": requests to ``efficientnet serve`` over many connections, against ``predictor.stream``."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .backends import BACKENDS, start
from .contenders import Settings
from .measuring import Row, held_memory, in_fresh_process, limit_cores
from .photographs import make_photographs
from .race import pinned, worker

STREAM = "files: this package, stream"
MODEL = "model.keras"  # The worker expects it here.
CONNECTIONS = 64
ROUNDS, PASSES = 5, 4  # Passes over the photographs in a round: 10,000 requests in all.
CERTAIN = 100.0  # The head's weights are so many times larger: at random all classes are about equally probable.
_ROUNDING = 2e-4  # The probabilities in responses have four digits.


class Server(NamedTuple):
    """A running server: its port and its process."""

    port: int
    pid: int


def rows(settings: Settings, quick: bool) -> Iterator[Row]:
    """Return the rows of throughput, of the slowest requests, and of the server's memory.

    Raises:
        RuntimeError: A response is not the one that the same photograph had as the only request.
    """
    folder = Path(settings.folder)
    photographs = folder / "photographs"
    make_photographs(photographs)
    in_fresh_process(save_certain_model, settings, folder / MODEL)
    settings = settings._replace(photographs=str(photographs), seconds=0)
    bodies = [path.read_bytes() for path in sorted(photographs.iterdir())]
    per_request, per_file, times, memory = [], [], [], []
    with ExitStack() as processes:
        stream = processes.enter_context(worker(STREAM, settings, None))
        stream(1)  # It compiles into the cache, so that the server need not hold Keras.
        running = processes.enter_context(server(settings, folder / MODEL))
        alone = asyncio.run(requests(running.port, bodies, connections=1))
        expected = [response for response, _ in alone]
        for _ in range(2 if quick else ROUNDS):
            measured = stream(1)
            if "skipped" in measured:
                raise RuntimeError(f"predictor.stream has no time: {measured['skipped']}")
            per_file.append(statistics.median(measured["seconds"]))
            started = time.perf_counter()
            found = asyncio.run(requests(running.port, bodies * PASSES, CONNECTIONS))
            per_request.append((time.perf_counter() - started) / len(found))
            check([response for response, _ in found], expected * PASSES)
            times.append([seconds for _, seconds in found])
            memory.append(held_memory(running.pid))
    what = f"serve {settings.variant}"
    yield Row(f"{what}, {CONNECTIONS} connections (peer: stream)", "s", per_request, per_file)
    slowest = [statistics.quantiles(each, n=100)[-1] for each in times]
    yield Row(f"{what}, 99% of requests (peer: half)", "s", slowest, [statistics.median(each) for each in times])
    yield Row(f"{what}, memory (peer: after the first round)", "MB", memory, memory[:1] * len(memory))


def save_certain_model(settings: Settings, path: Path) -> None:
    """Save the variant with random weights, whose best class is of another probability for each photograph."""
    model = start(BACKENDS[settings.backend])["create"](settings.variant)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([CERTAIN * kernel, bias])
    model.save(path)


@contextmanager
def server(settings: Settings, model: Path) -> Iterator[Server]:
    """Return a server of a saved model, on a free port, that has as many threads as everyone else."""
    environment = {**os.environ, **pinned(settings.threads), "EFFICIENTNET_HOME": settings.folder}
    environment.pop("EFFICIENTNET_TOKEN", None)
    options = ["--port", "0", "--threads", str(settings.threads)]
    command = [sys.executable, "-m", "efficientnet", "serve", str(model), *options]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=functools.partial(limit_cores, settings.threads),
        )
        try:
            assert process.stdout
            address = process.stdout.readline().split(" ")[0]
            if not address:
                errors.seek(0)
                raise RuntimeError(f"The server did not start: {errors.read().strip()}")
            yield Server(int(address.strip("/").rpartition(":")[2]), process.pid)
        finally:
            process.terminate()
            process.communicate()


async def requests(port: int, bodies: Sequence[bytes], connections: int) -> list[tuple[Any, float]]:
    """Send each body as a request; return the responses in the same order, and the seconds of each."""
    waiting = iter(enumerate(bodies))
    found: list[tuple[Any, float]] = [(None, 0.0)] * len(bodies)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for place, body in waiting:
            started = time.perf_counter()
            head = b"POST /predict?top=1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
            writer.writelines((head, body))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            response = json.loads(await reader.readexactly(length))
            found[place] = response, time.perf_counter() - started
        writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))
    return found


def check(found: Sequence[Any], expected: Sequence[Any]) -> None:
    """Check that responses are the expected ones, up to the rounding of probabilities in other batches."""
    for place, pair in enumerate(zip(found, expected, strict=True)):
        ours, alone = (best(response) for response in pair)
        if ours[0] != alone[0] or abs(ours[1] - alone[1]) > _ROUNDING:
            raise RuntimeError(f"Response {place} is {ours}, and {alone} for the same photograph alone.")


def best(response: Any) -> tuple[str, float]:
    """Return the most probable class of a response and its probability."""
    try:
        (prediction,) = response["images"][0]["predictions"]
    except (KeyError, TypeError, ValueError):
        raise RuntimeError(f"The server refused a photograph: {response}") from None
    return prediction["class"], prediction["probability"]
