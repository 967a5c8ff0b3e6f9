"""The command ``efficientnet similar``: the images that are like another, and near-duplicates."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.files import check_writable, write_file
from ..common.packages import missing
from ..common.text import about, csv_cell, notify, plain, print_json
from . import image_arguments, model_options
from .number_types import positive, share
from .paths import given_path

if TYPE_CHECKING:
    from ..similarity import Embeddings
    from ..similarity.page import SheetRow

SUCCESS, SOME_FAILED = 0, 1
_TOP, _SIMILARITY = 10, 0.9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``similar`` and its function."""
    parser.description = (
        "Finds, among the images that `efficientnet embed` has embedded, those that are most similar to "
        "each given image, or all near-duplicates. An image that cannot be read is reported on stderr; the others are "
        "searched for, and the exit status is 1."
    )
    image_arguments.add_options(parser, optional=True)
    add = parser.add_argument
    add("--in", dest="embeddings", metavar="FOLDER", type=given_path, required=True, help="folder of the embeddings")
    add("--duplicates", action="store_true", help="find near-duplicates among the embedded images; without IMAGE")
    add("--top", type=positive, metavar="N", help=f"similar images to find for each (default: {_TOP})")
    add("--similarity", type=share, metavar="S",
        help=f"least cosine similarity of near-duplicates, up to 1 (default: {_SIMILARITY})")  # fmt: skip
    add("--page", metavar="FILE", type=given_path, help="HTML file for a page that shows the images (default: none)")
    model_options.add_engine_options(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object per image, or pair, and line")
    output.add_argument("--csv", action="store_true", help="print one CSV line per pair")
    parser.set_defaults(run=_similar)


def _similar(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _check(arguments)
    from ..similarity import Embeddings
    from ..similarity.page import to_page

    found = Embeddings.read(arguments.embeddings)
    table = csv.writer(sys.stdout)
    if arguments.csv:
        table.writerow(["image", "rank", "similar", "similarity"])
    rows: list[SheetRow] = []
    failed = False
    outdated: set[str] = set()
    search = _duplicates if arguments.duplicates else _neighbours
    for image, neighbours in search(found, arguments, rows, outdated):
        if neighbours is None:
            failed = True
        elif arguments.json:
            print_json({"image": image, "similar": [{"path": path, "similarity": s} for path, s in neighbours]})
        elif arguments.csv:
            for rank, (path, similarity) in enumerate(neighbours, start=1):
                table.writerow([csv_cell(image), rank, csv_cell(path), f"{similarity:.6f}"])
        else:
            print(plain(image), *(f"  {similarity:.3f}  {plain(path)}" for path, similarity in neighbours), sep="\n")
        sys.stdout.flush()
    if outdated:
        notify(
            f"gone, or changed since they were embedded: {len(outdated)} of these images, such as "
            f"{plain(min(outdated))}; run `efficientnet embed` again, with another --out to leave out what is gone"
        )
    if arguments.duplicates and not rows and not (arguments.json or arguments.csv):
        print(f"no near-duplicates among {len(found.paths)} images")
    if arguments.page:
        name = plain(arguments.embeddings)
        what = "near-duplicates" if arguments.duplicates else "images, and those that are most similar to them"
        write_file(arguments.page, to_page(f"Similar images in {name}", f"{len(rows)} {what}", rows).encode())
    return SOME_FAILED if failed else SUCCESS


def _check(arguments: argparse.Namespace) -> None:
    if bool(arguments.images) == arguments.duplicates:
        raise ValueError("Nothing to find, or two things at once: pass images, or --duplicates without them.")
    if arguments.duplicates and arguments.top:
        raise ValueError(f"--top={arguments.top} is for images: --duplicates finds pairs of images over --similarity.")
    if arguments.similarity is not None and not arguments.duplicates:
        raise ValueError(f"--similarity={arguments.similarity:g} is for --duplicates: --top says how many to find.")
    if arguments.page:
        if arguments.page.suffix.lower() not in (".html", ".htm"):  # an image in its place would be replaced
            raise ValueError(f"--page {plain(arguments.page)}: a page is HTML; give a name that ends in .html.")
        check_writable(arguments.page)
        if not find_spec("jinja2"):
            raise missing("--page needs Jinja2", "design", ", or leave it out")


Pairs = Iterator[tuple[str, list[tuple[str, float]] | None]]


def _neighbours(found: Embeddings, arguments: argparse.Namespace, rows: list[SheetRow], outdated: set[str]) -> Pairs:
    """Yields each image and those that are most similar to it, None if it cannot be read."""
    from ..similarity import FeatureNetwork, find_similar
    from ..similarity.networks import describe
    from ..similarity.page import SheetRow

    network = FeatureNetwork.of_settings(found.settings)
    images = image_arguments.expanded(arguments)
    root = Path(found.root)
    with network.compile(**model_options.engine_options(arguments)) as predictor:
        sources = image_arguments.sources(images, arguments, predictor.spec.channels)
        for image, (vector, error) in zip(images, describe(predictor, sources), strict=True):
            if vector is None:
                notify(about(image, error))
                yield image, None
                continue
            nearest = find_similar(found.vectors, vector, arguments.top or _TOP)[0]
            near = [(str(root / found.paths[row]), similarity) for row, similarity in nearest]
            outdated |= {str(root / found.paths[row]) for row, _ in nearest if found.is_outdated(row)}
            shown = [] if image == "-" else [(image, image)]
            rows.append(SheetRow(plain(image), [*shown, *((path, f"{s:.3f}: {path}") for path, s in near)]))
            yield image, near


def _duplicates(found: Embeddings, arguments: argparse.Namespace, rows: list[SheetRow], outdated: set[str]) -> Pairs:
    """Yields the first image of each pair of near-duplicates, and the other."""
    from ..similarity import find_duplicates
    from ..similarity.page import SheetRow

    root = Path(found.root)
    for pair in find_duplicates(found.vectors, arguments.similarity or _SIMILARITY):
        both = (pair.first, pair.second)
        first, second = (str(root / found.paths[row]) for row in both)
        outdated |= {str(root / found.paths[row]) for row in both if found.is_outdated(row)}
        rows.append(SheetRow(f"{pair.similarity:.3f}", [(first, first), (second, second)]))
        yield first, [(second, pair.similarity)]
