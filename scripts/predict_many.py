"""Predicts any number of images with Ray Data, on one machine or many.

    python scripts/predict_many.py IMAGES --out OUT --workers 2
    python scripts/predict_many.py lists.parquet --out OUT --model runs/flowers/model.keras --address auto

IMAGES is a folder, searched with all folders in it, or a Parquet file or a folder of these. A row of Parquet has an
image's content in ``bytes``, its place in ``path``, relative to the Parquet file, or both, or both in a struct
``image``.

OUT becomes a folder of Parquet files with a row for each image: ``path``, its name within IMAGES (the Parquet file and
the row, if there is no path or several contents share one); ``class``, ``label`` and ``probability``, lists, best
first, or ``value`` if the model gives no probabilities; ``kind``, what the numbers are, as in ``efficientnet predict
--json``; and ``error``, why the image could not be read. Each file appears whole or not at all. Images that are in OUT
are not predicted again, so the same command continues after any end of a run, even ``kill -9``. A worker that dies is
replaced, and its unfinished images are predicted again.

On many machines: ``ray start --head`` on the first, ``ray start --address=FIRST:6379`` on the others, then this with
``--address auto`` on the first. All of them need this package, and see IMAGES and the model under the same path; OUT
is written by the machine that runs the command.
"""

from __future__ import annotations

import argparse
import bisect
import collections
import itertools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from many.workers import add_options, require_ray, work
from tqdm import tqdm

from efficientnet.checkpoints import Facts
from efficientnet.cli import image_arguments, pixel_options
from efficientnet.cli.exit_statuses import SOME_FAILED, SUCCESS
from efficientnet.cli.main import run
from efficientnet.cli.model_options import find_source
from efficientnet.cli.number_types import positive
from efficientnet.common.files import only_writer, replacing
from efficientnet.common.json_files import read_object
from efficientnet.inference import ENGINES, PRECISIONS, ModelSource, Predictor, compile
from efficientnet.preprocessing import MODES

if TYPE_CHECKING:
    import pyarrow as pa

PREFIXES = ("", "image.")  # prefixes of the columns in Parquet


class Item(NamedTuple):
    """Where an image is: in ``file`` itself where ``row`` is negative, otherwise in that row of a Parquet file."""

    path: str
    file: str
    row: int


def find_images(given: Path) -> list[Item]:
    """Return the images of a folder or of Parquet files, each once.

    Raises:
        FileNotFoundError, ValueError: there are none.
    """
    if not given.exists():
        raise FileNotFoundError(f"{given} does not exist: expected a folder of images, or Parquet.")
    files = sorted(path for path in given.rglob("*") if path.is_file()) if given.is_dir() else [given]
    root = given if given.is_dir() else given.parent
    if tables := [file for file in files if file.suffix == ".parquet"]:
        images = [image for table in tables for image in rows_of(table, root)]
        times = collections.Counter(image.path for image in images if image.row >= 0)
        images = [
            image._replace(path=row_name(image, root)) if image.row >= 0 and times[image.path] > 1 else image
            for image in images
        ]
    else:
        images = image_arguments.images_in(given, recursive=True) if given.is_dir() else files
        images = [Item(name_of(file.relative_to(root)), str(file.resolve()), -1) for file in images]
    if not images:
        raise ValueError(f"{given} holds no images: expected such as JPEG, PNG and WebP, or .parquet.")
    return list({image.path: image for image in images}.values())


def name_of(path: Path) -> str:
    """Return the path as Parquet takes it: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")


def rows_of(table: Path, root: Path) -> list[Item]:
    """Return the images of a Parquet file."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(table) as file:
        has_bytes, has_path = (find_column(file, kind) for kind in ("bytes", "path"))
        if not has_bytes and not has_path:
            raise ValueError(f"{table} has the columns {', '.join(file.schema_arrow.names)}: expected bytes or path.")
        count = file.metadata.num_rows
        paths = file.read(columns=[has_path]).flatten()[has_path].to_pylist() if has_path else [None] * count
    here = table.resolve()
    images = []
    for row, path in enumerate(paths):
        in_table = Item(path or "", str(here), row)
        name = path or row_name(in_table, root)
        is_address = "://" in (path or "")
        file = str(here) if has_bytes else path if is_address else str(here.parent / path) if path else ""
        images.append(Item(name, file, row if has_bytes else -1))
    return images


def row_name(image: Item, root: Path) -> str:
    """Name of a row without a path."""
    return f"{name_of(Path(image.file).relative_to(root.resolve()))}#{image.row}"


def find_column(file: Any, kind: str) -> str | None:
    """Return the column of a Parquet file with the images' ``bytes`` or ``path``."""
    columns = {file.schema.column(index).path for index in range(len(file.schema))}
    return next((prefix + kind for prefix in PREFIXES if prefix + kind in columns), None)


class Contents:
    """What ``Predictor.stream`` takes of each image. Rows that follow each other share the reading of their group."""

    def __init__(self) -> None:
        self.table, self.starts = "", [0]
        self.group, self.values = -1, None

    def __call__(self, image: Item) -> str | bytes:
        """Return an image's file, or the content of its row."""
        import pyarrow.parquet as pq

        if image.row < 0:
            return image.file
        if image.file != self.table:
            metadata = pq.read_metadata(image.file)
            counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
            self.table, self.starts, self.group = image.file, [0, *itertools.accumulate(counts)], -1
        group = bisect.bisect_right(self.starts, image.row) - 1
        if group != self.group:
            with pq.ParquetFile(self.table) as file:
                column = find_column(file, "bytes")
                self.group, self.values = group, file.read_row_group(group, columns=[column]).flatten()[column]
        found: bytes | None = self.values[image.row - self.starts[group]].as_py()
        return found or b""


class Model(NamedTuple):
    """A model to ask, as on the command line."""

    model: str
    weights: str | None
    preprocessing: str | None
    engine: str
    precision: str
    calibration: tuple[str, ...]
    top: int
    softmax: bool = False

    def source(self) -> ModelSource:
        """Return where it comes from.

        Raises:
            ValueError, OSError: nothing of that name.
        """
        return find_source(self.model, self.weights, Facts(preprocessing=self.preprocessing))

    def compile(self, threads: int) -> Predictor:
        """Compile it for this number of threads."""
        return compile(
            self.source(), self.engine, precision=self.precision, threads=threads, calibration=self.calibration
        )


def schema() -> pa.Schema:
    """Return the schema of the predictions."""
    import pyarrow as pa

    texts = pa.list_(pa.string())
    numbers = pa.list_(pa.float32())
    fields = {"path": pa.string(), "class": texts, "label": texts, "probability": numbers, "value": numbers}
    return pa.schema({**fields, "kind": pa.string(), "error": pa.string()})


def predict_items(images: Sequence[Item], predictor: Predictor, top: int, softmax: bool = False) -> pa.Table:
    """Return the predictions to some images, in their order."""
    import pyarrow as pa

    rows = []
    for image, record in zip(images, predictor.stream(map(Contents(), images)), strict=True):
        found, error = None, record.error
        if error is None:
            try:
                found = predictor.spec.prediction(record.outputs, as_logits=softmax)
            except ValueError as problem:  # NaN
                error = str(problem)
        best = [] if found is None else found.first(top)
        keys, labels, values = zip(*best, strict=True) if best else ((), (), ())
        columns: dict[str, Any] = {"class": keys, "label": labels, "probability": (), "value": ()}
        if found is not None:
            columns |= {"probability" if found.are_probabilities else "value": values, "kind": found.kind}
        rows.append({"path": image.path, **columns, "error": error})
    return pa.Table.from_pylist(rows, schema())


def as_row(image: Item) -> dict[str, Any]:
    """Return an image as workers take it; its file is bytes, since a name may be any."""
    return {**image._asdict(), "file": os.fsencode(image.file)}


class Worker:
    """An actor of Ray: a compiled model, which predicts one table of images after another."""

    def __init__(self, model: Model, max_pixels: int | None, threads: int) -> None:
        self.model, self.max_pixels = model, max_pixels
        with pixel_options.limited(max_pixels):
            self.predictor = model.compile(threads)
        if model.softmax:
            self.predictor.spec.check_logits()

    def __call__(self, images: pa.Table) -> pa.Table:
        with pixel_options.limited(self.max_pixels):
            asked = [Item(row["path"], os.fsdecode(row["file"]), row["row"]) for row in images.to_pylist()]
            return predict_items(asked, self.predictor, self.model.top, self.model.softmax)


class Predictions:
    """The folder of predictions. One process at a time writes to it: the one that starts the workers.

    So an image is predicted when its row is in the folder, and whatever a dying worker still does counts for nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self, settings: dict[str, Any]) -> None:
        """Check that all predictions in the folder are the same model's.

        Raises:
            ValueError: they are another's.
        """
        path = self.folder / "_settings.json"
        if not path.exists():
            with replacing(path) as part:
                part.write_text(json.dumps(settings, indent=2))
        elif (before := read_object(path)) != settings:
            raise ValueError(
                f"{self.folder} holds predictions of {before}, these would be of {settings}: choose another --out, or "
                "repeat the options."
            )

    def files(self) -> list[Path]:
        """Return all that has been written, in order."""
        return sorted(self.folder.glob("predictions-*.parquet"))

    def paths(self) -> set[str]:
        """Return the images that have been predicted."""
        import pyarrow.parquet as pq

        return {path for file in self.files() for path in pq.read_table(file, columns=["path"])["path"].to_pylist()}

    def add(self, table: pa.Table) -> None:
        """Write a file of predictions, whole or not at all."""
        import pyarrow.parquet as pq

        last = max((int(file.stem.removeprefix("predictions-")) for file in self.files()), default=0)
        with replacing(self.folder / f"predictions-{last + 1:06d}.parquet") as part:
            pq.write_table(table, part)

    def drop_errors(self) -> None:
        """Leave out the images that could not be read, so that they are asked again."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        for file in self.files():
            table = pq.read_table(file)
            if table["error"].null_count < len(table):
                with replacing(file) as part:
                    pq.write_table(table.filter(pc.field("error").is_null()), part)


def predict_missing(
    predictions: Predictions, images: Sequence[Item], model: Model, options: argparse.Namespace
) -> tuple[int, int]:
    """Predict the images that are not in the folder; return how many there are, and how many could not be read."""
    predicted = predictions.paths()
    missing = [image for image in images if image.path not in predicted]
    failed = 0
    with (
        tqdm(total=len(images), initial=len(images) - len(missing), unit="image", disable=None) as progress,
        work(map(as_row, missing), Worker, (model, options.max_pixels), options) as tables,
    ):
        for table in tables:
            predictions.add(table)
            failed += len(table) - table["error"].null_count
            progress.update(len(table))
    return len(missing), failed


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("images", type=Path, metavar="IMAGES", help="folder, or Parquet")
    add("--out", type=Path, required=True, metavar="OUT", help="folder for Parquet files of predictions")
    add("--model", default="lite0", help="variant, or a saved model (.keras, .h5) (default: %(default)s)")
    add("--weights", help="published set or file of weights (default: the variant's first set)")
    add("--preprocessing", choices=MODES, help="of a saved model that has none inside")
    add("--engine", choices=ENGINES, default="auto", help="(default: %(default)s)")
    add("--precision", choices=PRECISIONS, default="f32", help="(default: %(default)s)")
    add("--calibrate", type=Path, metavar="FOLDER", help="of images for --precision int8")
    add("--top", type=positive, default=5, metavar="N", help="classes per image (default: %(default)s)")
    add("--softmax", action="store_true", help="make probabilities of a model's logits")
    pixel_options.add_options(parser)
    add_options(parser, shard=256)
    add("--retry-errors", action="store_true", help="predict those again that could not be read")
    parser.set_defaults(run=predict_many)
    return parser


def predict_many(options: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    require_ray()
    calibration = tuple(image.file for image in find_images(options.calibrate)) if options.calibrate else ()
    model = Model(
        options.model, options.weights, options.preprocessing, options.engine, options.precision, calibration,
        options.top, options.softmax,
    )  # fmt: skip
    images = find_images(options.images)
    with only_writer(options.out):
        predictions = Predictions(options.out)
        predictions.check({**model._asdict(), "calibration": len(calibration), "content": model.source().content()})
        if options.retry_errors:
            predictions.drop_errors()
        count, failed = predict_missing(predictions, images, model, options)
    print(f"{options.out}: {len(images)} images, {len(images) - count} of them predicted before")
    if failed:
        print(f"{failed} images could not be read: column error says why; --retry-errors asks again", file=sys.stderr)
    return SOME_FAILED if failed else SUCCESS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit status: 0, 1 where an image could not be read, 2 where it cannot go on."""
    return run(make_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
