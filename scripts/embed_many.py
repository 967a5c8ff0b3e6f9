"""Describes any number of images by vectors with Ray Data, on one machine or many: ``efficientnet embed`` on workers.

    python scripts/embed_many.py FOLDER --out EMBEDDINGS --workers 2
    python scripts/embed_many.py FOLDER --out EMBEDDINGS --model runs/flowers/model.keras --address auto

EMBEDDINGS becomes what ``efficientnet embed`` writes, and ``efficientnet similar --in`` reads: a folder of parts, each
of which appears whole or not at all. Images that are in EMBEDDINGS and have not changed since are not described again,
so the same command continues after any end of a run, even ``kill -9``; so does ``efficientnet embed``. A worker that
dies is replaced, and its unfinished images are described again.

On many machines: ``ray start --head`` on the first, ``ray start --address=FIRST:6379`` on the others, then this with
``--address auto`` on the first. All of them need this package, and see FOLDER and the model under the same path;
EMBEDDINGS is written by the machine that runs the command. --batch-size and --threads are those of each worker; by
default the workers share the processors.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from many.workers import add_options, require_ray, work

from efficientnet.cli import embed, model_options, pixel_options
from efficientnet.cli.main import run
from efficientnet.similarity import FeatureNetwork
from efficientnet.similarity.embeddings import IMAGES_PER_PART, File
from efficientnet.similarity.networks import Described, describe

if TYPE_CHECKING:
    import pyarrow as pa


class Worker:
    """An actor of Ray: a compiled network, which describes one table of images after another.

    Paths are bytes, since a file's name may be any; a network of recorded settings is one whose file is the same here.
    """

    def __init__(
        self, settings: dict[str, Any], root: Path, compiling: dict[str, Any], max_pixels: int | None, threads: int
    ) -> None:
        self.root, self.max_pixels = root, max_pixels
        self.predictor = FeatureNetwork.of_settings(settings).compile(**{**compiling, "threads": threads})

    def __call__(self, images: pa.Table) -> pa.Table:
        import pyarrow as pa

        with pixel_options.limited(self.max_pixels):
            sources = [self.root / os.fsdecode(path) for path in images["path"].to_pylist()]
            vectors, errors = zip(*describe(self.predictor, sources), strict=True)
        return pa.table({
            "path": images["path"],
            "vector": pa.array(vectors, pa.list_(pa.float32())),
            "error": pa.array(errors, pa.string()),
        })  # fmt: skip


def describe_by_workers(
    network: FeatureNetwork, root: Path, files: Sequence[File], options: argparse.Namespace
) -> Generator[tuple[File, Described], None, None]:
    """Yield the vectors of files, shard by shard in the order in which the workers get ready."""
    asked = {os.fsencode(file.path): file for file in files}
    arguments = (network.settings, root.absolute(), model_options.engine_options(options), options.max_pixels)
    with work(({"path": path} for path in asked), Worker, arguments, options, options.threads) as tables:
        for table in tables:
            columns = table["path"].to_pylist(), table["vector"], table["error"].to_pylist()
            for path, vector, error in zip(*columns, strict=True):
                yield asked[path], Described(None if error is not None else vector.values.to_numpy(), error)


def embed_many(options: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    require_ray()
    return embed.embed_folder(options, functools.partial(describe_by_workers, options=options), options.shard)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit status: 0, 1 where an image could not be read, 2 where it cannot go on."""
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    embed.add_arguments(parser)
    add_options(parser, shard=IMAGES_PER_PART)
    parser.description = __doc__
    parser.set_defaults(run=embed_many)
    return run(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
