"""Images in shards, worked on by processes of Ray Data on one machine or many.

A shard whose worker dies is done again by another. Workers are sent this module, so that only the machine that starts a
script needs it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from efficientnet.cli.number_types import positive
from efficientnet.common.packages import missing

if TYPE_CHECKING:
    import pyarrow as pa

_FAILURE = "failure"  # the only column of what a worker returns that cannot go on


class Guarded:
    """A worker that returns why it cannot go on, since Ray would repeat what raises, and print tracebacks."""

    def __init__(self, worker: type, arguments: tuple[Any, ...], threads: int) -> None:
        self.worker, self.arguments, self.threads = worker, arguments, threads
        self.made: Any = None

    def __call__(self, images: pa.Table) -> pa.Table:
        import pyarrow as pa

        try:
            if self.made is None:
                self.made = self.worker(*self.arguments, threads=self.threads)
            return self.made(images)
        except Exception as error:
            is_expected = isinstance(error, (ValueError, ImportError, OSError))
            return pa.table({_FAILURE: [str(error) if is_expected else f"{type(error).__name__}: {error}"]})


def checked(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield what workers return.

    Raises:
        ValueError: one cannot go on.
    """
    for table in tables:
        if table.column_names == [_FAILURE]:
            raise ValueError(table[_FAILURE][0].as_py())
        yield table


def add_options(parser: argparse.ArgumentParser, shard: int) -> None:
    """Add the options that :func:`work` reads; ``shard`` is the default."""
    add = parser.add_argument
    add("--workers", type=positive, metavar="N", help="processes that hold the model (default: one for each machine)")
    add("--gpus", type=float, default=0, metavar="N", help="of each worker (default: %(default)s)")
    add("--shard", type=positive, default=shard, metavar="N", help="images per written file (default: %(default)s)")
    add("--address", help="of a Ray cluster, or auto for the one that this machine is part of (default: none)")


def require_ray() -> None:
    """Raise ImportError where Ray Data is missing."""
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise missing("Many images need Ray Data", "ray")


@contextlib.contextmanager
def work(
    rows: Iterable[dict[str, Any]],
    worker: type,
    arguments: tuple[Any, ...],
    options: argparse.Namespace,
    threads: int | None = None,
) -> Iterator[Iterator[pa.Table]]:
    """Enter what workers make of the rows: a table for each shard, in the order in which they are ready.

    Args:
        rows: a row for each image.
        worker: class of the workers. It is made with the arguments and ``threads``, and called with a shard's table.
        arguments: of the workers.
        options: those of :func:`add_options`.
        threads: of each worker; by default the workers share the processors.

    Raises:
        ChildProcessError: a worker has failed, and would again.
        ValueError: a worker cannot go on, or there are not so many processors.
    """
    # The exceptions say what goes wrong.
    quiet = {"RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_DATA_LOG_LEVEL": "CRITICAL", "TF_CPP_MIN_LOG_LEVEL": "2"}
    os.environ |= {**quiet, **os.environ}
    import pyarrow as pa
    import ray

    rows = iter(rows)
    shards = [pa.Table.from_pylist(shard) for shard in iter(lambda: list(itertools.islice(rows, options.shard)), [])]
    if not shards:
        yield iter(())
        return
    try:
        ray.init(
            options.address,
            include_dashboard=None if options.address else False,
            logging_level="error",
            log_to_driver=False,
        )
        processors = int(ray.cluster_resources().get("CPU", 1))
        workers = options.workers or len(ray.nodes())
        threads = threads or processors // workers
        if not 0 < threads * workers <= processors:
            raise ValueError(
                f"{workers} workers of {threads or 1} threads: there are {processors} processors. Ask for fewer."
            )
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        results = ray.data.from_arrow(shards).map_batches(
            Guarded,
            fn_constructor_args=(worker, arguments, threads),
            batch_size=None,  # a whole shard
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(shards))),
            num_cpus=threads,
            num_gpus=options.gpus,
        )
        batches = results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        with contextlib.closing(iter(batches)) as tables:  # left open, they keep ray.shutdown waiting for a minute
            yield checked(tables)
    except ray.exceptions.RayError as error:
        raise ChildProcessError(f"A worker failed: {str(error).strip().splitlines()[-1]}") from error
    finally:
        ray.shutdown()
