"""The command ``efficientnet similar``: the images that are like another, and near-duplicates."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..common.files import check_writable, write_file
from ..common.packages import missing
from ..common.text import about, csv_cell, notify, plain, print_json
from . import image_arguments, model_options
from .exit_statuses import SOME_FAILED, SUCCESS
from .number_types import positive, share
from .paths import given_path

if TYPE_CHECKING:
    from ..similarity import Embeddings
    from ..similarity.page import SheetRow

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
    for match in search(found, arguments):
        if match is None:
            failed = True
            continue
        rows.append(match.sheet)
        outdated |= {_path(found, row) for row in match.rows if found.is_outdated(row)}
        if arguments.json:
            similar = [{"path": path, "similarity": similarity} for path, similarity in match.similar]
            print_json({"image": match.image, "similar": similar})
        elif arguments.csv:
            for rank, (path, similarity) in enumerate(match.similar, start=1):
                table.writerow([csv_cell(match.image), rank, csv_cell(path), f"{similarity:.6f}"])
        else:
            lines = (f"  {similarity:.3f}  {plain(path)}" for path, similarity in match.similar)
            print(plain(match.image), *lines, sep="\n")
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


class _Match(NamedTuple):
    image: str
    similar: list[tuple[str, float]]  # paths and cosine similarities
    rows: list[int]  # the embedded images among them
    sheet: SheetRow


def _path(found: Embeddings, row: int) -> str:
    return str(Path(found.root) / found.paths[row])


def _neighbours(found: Embeddings, arguments: argparse.Namespace) -> Iterator[_Match | None]:
    """Yield each image with those that are most similar to it; None for one that cannot be read."""
    from ..similarity import FeatureNetwork, find_similar
    from ..similarity.networks import describe
    from ..similarity.page import SheetRow

    network = FeatureNetwork.of_settings(found.settings)
    images = image_arguments.expanded(arguments)
    with network.compile(**model_options.engine_options(arguments)) as predictor:
        sources = image_arguments.sources(images, arguments, predictor.spec.channels)
        for image, (vector, error) in zip(images, describe(predictor, sources), strict=True):
            if vector is None:
                notify(about(image, error))
                yield None
                continue
            nearest = find_similar(found.vectors, vector, arguments.top or _TOP)[0]
            similar = [(_path(found, row), similarity) for row, similarity in nearest]
            shown = [] if image == "-" else [(image, image)]
            sheet = SheetRow(plain(image), [*shown, *((path, f"{s:.3f}: {path}") for path, s in similar)])
            yield _Match(image, similar, [row for row, _ in nearest], sheet)


def _duplicates(found: Embeddings, arguments: argparse.Namespace) -> Iterator[_Match]:
    """Yield the first image of each pair of near-duplicates with the other."""
    from ..similarity import find_duplicates
    from ..similarity.page import SheetRow

    for pair in find_duplicates(found.vectors, arguments.similarity or _SIMILARITY):
        rows = [pair.first, pair.second]
        first, second = (_path(found, row) for row in rows)
        sheet = SheetRow(f"{pair.similarity:.3f}", [(first, first), (second, second)])
        yield _Match(first, [(second, pair.similarity)], rows, sheet)
