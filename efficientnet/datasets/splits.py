"""The images that a training has trained on, and those it has held out: two tables in its folder."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..common.files import replacing
from .samples import Samples

PARTS = ("training", "validation")
_NAMES = "surrogateescape"  # file names may be any bytes


class Entry(NamedTuple):
    """An image's file, the name of its class, and the SHA-256 of the file's content, hexadecimal."""

    path: Path
    label: str
    sha256: str


def write_split(run: Path, parts: dict[str, Sequence[Entry]]) -> None:
    """Write a table per part, such as ``validation.csv``, into the folder of a training."""
    for part, entries in parts.items():
        with (
            replacing(run / f"{part}.csv") as path,
            path.open("w", encoding="utf-8", errors=_NAMES, newline="") as file,
        ):
            table = csv.writer(file)
            table.writerow(Entry._fields)
            table.writerows([entry._replace(path=entry.path.absolute()) for entry in entries])


def select(samples: Samples, run: Path, part: str | None) -> Samples:
    """Select the images of one part of a training, or all with a warning about those that it has trained on.

    The content of a file decides, not its path.

    Args:
        samples: Images of a folder or a table.
        run: Folder of the training; others have no tables.
        part: Name from :data:`PARTS`; None for all images.

    Raises:
        ValueError: The part is unknown, or none of the images is in it.
    """
    known = {name: run / f"{name}.csv" for name in PARTS if (run / f"{name}.csv").is_file()}
    if part is not None and part not in known:
        raise ValueError(
            f"There is no {run / f'{part}.csv'}, which says what is in the part {part}: pass a model in the folder "
            "that `efficientnet train` left, or choose the images yourself with a CSV file of path and label."
        )
    if not known:
        return samples
    parts = {digest: name for name, table in known.items() for digest in _digests(table)}
    of = [parts.get(sha256_of(sample.path)) for sample in samples.found]
    if part is None:
        trained = of.count("training")
        note = (
            f"{trained} of the {len(of)} images are among those that the model was trained on, so it does better here "
            "than on others: --part validation takes only those that were held out"
        )
        return Samples(samples.found, [*samples.notes, note]) if trained else samples
    chosen = [sample for sample, name in zip(samples.found, of, strict=True) if name == part]
    if not chosen:
        raise ValueError(
            f"None of the {len(of)} images is in {known[part]}: pass the data that the model was trained on."
        )
    note = f"{len(chosen)} of the {len(of)} images are in {known[part]}: only these count"
    return Samples(chosen, [*samples.notes, note])


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content; empty if it cannot be read, which the reader of the image reports."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _digests(table: Path) -> list[str]:
    with table.open(encoding="utf-8", errors=_NAMES, newline="") as file:
        return [row["sha256"] for row in csv.DictReader(file)]
