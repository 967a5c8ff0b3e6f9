"""Embeddings of a folder's images, in files: NumPy's or Parquet, written in parts, so that it can be resumed."""

from __future__ import annotations

import contextlib
import csv
import functools
import itertools
import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..common.files import check_apart, only_writer, replacing, write_file
from ..common.json_files import read_object
from ..common.packages import missing
from ..common.text import about, is_utf_8, json_text, notify, plain
from ..datasets.folders import find_images
from .networks import Described, FeatureNetwork, describe

FORMATS = ("npy", "parquet")
_SETTINGS = "embeddings.json"
IMAGES_PER_PART = 1024
_COLUMNS = ("path", "bytes", "modified")


class File(NamedTuple):
    """An embedded file: path relative to the folder, size in bytes, and time of its last change in nanoseconds."""

    path: str
    bytes: int
    modified: int


# What computes vectors of files in a folder, in any order.
Compute = Callable[[FeatureNetwork, Path, Sequence[File]], Generator[tuple[File, Described], None, None]]


class Embedded(NamedTuple):
    """What :func:`embed` did.

    Attributes:
        new: Number of images that were embedded.
        known: Number of images that had been embedded before, and have not changed since.
        unreadable: Images that cannot be read.

    Example:
        >>> Embedded(new=3, known=9, unreadable=["broken.jpg"]).new
        3
    """

    new: int
    known: int
    unreadable: list[str]


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of a folder's images.

    Attributes:
        root: Folder of the images.
        paths: Path of each image, relative to the folder.
        vectors: (images, numbers) float32.
        settings: Model that the vectors are of; see ``FeatureNetwork.settings``.
        files: Each image as it was embedded; empty if that is not known.

    Example:
        >>> import numpy as np
        >>> Embeddings("photos", ["a.jpg"], np.ones((1, 3), np.float32), {}).vectors.shape
        (1, 3)
    """

    root: str
    paths: list[str]
    vectors: NDArray[np.float32]
    settings: dict[str, Any]
    files: Sequence[File] = ()

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Embeddings:
        """Read what :func:`embed` has written, in the order of the paths.

        Raises:
            FileNotFoundError: There are no embeddings in the folder.
            ValueError: A file is damaged.
        """
        place = Path(arguments.path("folder", folder, "the folder of embeddings"))
        settings = _read_settings(place)
        rows: dict[str, tuple[int, int]] = {}
        latest: dict[str, File] = {}
        parts = []
        for number, part in enumerate(_parts(place)):
            files, vectors = _read_part(part)
            parts.append(vectors)
            rows |= {file.path: (number, row) for row, file in enumerate(files)}  # the latest of a changed file
            latest |= {file.path: file for file in files}
        if not rows:
            raise FileNotFoundError(f"{plain(place)} has no embeddings yet: go on with `efficientnet embed`.")
        paths = sorted(rows)
        vectors = np.stack([parts[number][row] for number, row in map(rows.__getitem__, paths)])
        return cls(settings["root"], paths, vectors, settings["network"], [latest[path] for path in paths])

    def is_outdated(self, row: int) -> bool:
        """Return whether an image is gone, or has changed since it was embedded, so that its vector is out of date."""
        root = Path(self.root)
        try:
            return bool(self.files) and _file(root, root / self.paths[row]) != self.files[row]
        except OSError:
            return True


def embed(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    network: FeatureNetwork,
    format: str = "npy",
    **options: Any,
) -> Embedded:
    """Compute the embeddings of all images in a folder and the folders within it.

    ``out`` becomes a folder of parts of up to 1,024 images: ``part-00000.npy``, float32 vectors, and
    ``part-00000.csv``, their files; or ``part-00000.parquet``, both in one. Each appears whole or not at all. The same
    call continues after any end, and embeds only images that are new or have changed.

    Args:
        folder: Folder of images.
        out: Folder of the embeddings.
        network: Network that describes the images.
        format: "npy" or "parquet".
        options: Options of ``inference.compile``.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        ValueError: ``out`` has embeddings of another network, of another folder, or in another format; or it lies in
            the folder of images.
        ImportError: pyarrow is missing, which writes Parquet.
        OSError: Another process writes into ``out``, or it cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from efficientnet.similarity import network_of
        >>> done = embed("flowers", "embeddings", network_of("lite0", size=32))
        >>> done.new, Embeddings.read("embeddings").vectors.shape
        (12, (12, 1752))
    """
    root, place = (Path(arguments.path(*given)) for given in (
        ("folder", folder, "a folder of images"), ("out", out, "the folder of the embeddings"),
    ))  # fmt: skip
    arguments.instance("network", network, FeatureNetwork, "what network_of returns")
    arguments.choice("format", format, FORMATS)
    compute = functools.partial(describe_files, **options)
    return embed_images(root, images_of(root), place, network, format, compute, IMAGES_PER_PART)


def images_of(root: Path) -> list[Path]:
    """Return the images of a folder and the folders within it; what is left out is reported.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {plain(root)}: expected one of images.")
    listing = find_images(root)
    if note := listing.note(root):
        notify(plain(note))
    if not listing.images:
        raise FileNotFoundError(f"{plain(root)} holds no images: expected a folder of images.")
    return listing.images


def describe_files(
    network: FeatureNetwork, root: Path, files: Sequence[File], **options: Any
) -> Generator[tuple[File, Described], None, None]:
    """Yield the vectors of a folder's files, computed by this process; options are those of ``inference.compile``."""
    with network.compile(**options) as predictor:
        yield from zip(files, describe(predictor, (root / file.path for file in files)), strict=True)


def embed_images(
    root: Path,
    images: Sequence[Path],
    place: Path,
    network: FeatureNetwork,
    format: str,
    compute: Compute,
    images_per_part: int,
) -> Embedded:
    """Do what :func:`embed` says, with the vectors that ``compute`` yields, in whatever order.

    Args:
        root: Folder of the images.
        images: Images in it.
        place: Folder of the embeddings.
        network, format: As in :func:`embed`.
        compute: Function such as :func:`describe_files`.
        images_per_part: Images after which a part is written.
    """
    check_apart(place, root)
    if format == "parquet":
        _pyarrow()
    files = [_file(root, path) for path in images]
    with only_writer(place):
        known: dict[str, File] = {}
        for part in _parts(place):
            known |= {file.path: file for file in _read_files(part)}
        pending = [file for file in files if known.get(file.path) != file]
        gone = known.keys() - {file.path for file in files}
        _write_settings(place, root, network, format, gone)
        if gone:
            notify(f"{len(gone)} of the images in {plain(place)} are no longer in {plain(root)}: their embeddings stay")
        unreadable = _unwritable(pending, format)
        if asked := [file for file in pending if file.path not in unreadable]:
            with contextlib.closing(compute(network, root, asked)) as described:
                unreadable += _write_all(place, format, described, len(asked), images_per_part)
    return Embedded(len(pending) - len(unreadable), len(files) - len(pending), unreadable)


def _unwritable(files: Sequence[File], format: str) -> list[str]:
    """Return the files whose names the format does not take."""
    names = [file.path for file in files if format == "parquet" and not is_utf_8(file.path)]
    for name in names:
        notify(about(name, "its name is not UTF-8, as Parquet requires: rename it, or choose the format npy"))
    return names


def _write_all(
    place: Path, format: str, described: Iterable[tuple[File, Described]], count: int, images_per_part: int
) -> list[str]:
    """Write vectors in parts, as they come; return the files that have none."""
    from tqdm import tqdm

    unreadable: list[str] = []

    def readable() -> Iterator[tuple[File, NDArray[np.float32]]]:
        for file, (vector, error) in tqdm(described, total=count, unit="image", leave=False, disable=None):
            if vector is None:
                notify(about(file.path, error))
                unreadable.append(file.path)
            else:
                yield file, vector

    parts, found = _parts(place), readable()
    number = int(parts[-1].stem.removeprefix("part-")) + 1 if parts else 0
    while part := list(itertools.islice(found, images_per_part)):
        files, vectors = zip(*part, strict=True)
        _write_part(place / f"part-{number:05d}", files, np.stack(vectors), format)
        number += 1
    return unreadable


def _file(root: Path, path: Path) -> File:
    found = path.stat()
    return File(path.relative_to(root).as_posix(), found.st_size, found.st_mtime_ns)


def _write_settings(place: Path, root: Path, network: FeatureNetwork, format: str, gone: Collection[str]) -> None:
    """Write what the embeddings are of, unless there are others; ``gone`` are those of images that are not in root."""
    settings = {"root": str(root.absolute()), "network": network.settings, "format": format}
    known = _read_settings(place) if (place / _SETTINGS).exists() else None
    if known and _parts(place):  # a run that ended before its first part has left nothing that has to fit
        network.check_same(known["network"])
        if known["format"] != format:
            raise ValueError(
                f"{plain(place)} has embeddings in the format {known['format']}, not {format}: give that format, or "
                "another folder for the embeddings."
            )
        elsewhere = Path(known["root"])
        if known["root"] != settings["root"] and any((elsewhere / name).exists() for name in gone):
            raise ValueError(  # one root for all of them: a folder that has only moved keeps its images
                f"{plain(place)} has the embeddings of {plain(elsewhere)}, which has images that {plain(root)} has "
                "not: choose another folder for the embeddings of the latter."
            )
    write_file(place / _SETTINGS, json_text(settings, indent=2).encode())


def _read_settings(place: Path) -> dict[str, Any]:
    try:
        settings = read_object(place / _SETTINGS)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"There are no embeddings in {plain(place)}: expected a folder that `efficientnet embed` has written."
        ) from None
    if not (isinstance(settings.get("root"), str) and isinstance(settings.get("network"), dict)) or (
        settings.get("format") not in FORMATS
    ):
        raise ValueError(f"{plain(place / _SETTINGS)} is not what `efficientnet embed` writes: choose another folder.")
    return settings


def _parts(place: Path) -> list[Path]:
    """Return the files that complete the parts, in order: the table, or Parquet."""
    return sorted(path for path in place.glob("part-*") if path.suffix in (".csv", ".parquet"))


def _write_part(stem: Path, files: Sequence[File], vectors: NDArray[np.float32], format: str) -> None:
    if format == "parquet":
        pa, parquet = _pyarrow()
        columns = {name: [getattr(file, name) for file in files] for name in _COLUMNS}
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        with replacing(stem.with_suffix(".parquet")) as path:
            parquet.write_table(pa.table({**columns, "embedding": column}), path)
        return
    with replacing(stem.with_suffix(".npy")) as path, path.open("wb") as binary:
        np.save(binary, vectors)
    table_path = stem.with_suffix(".csv")  # the last: with it the part is complete
    with (
        replacing(table_path) as path,
        path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as text,
    ):
        table = csv.writer(text)
        table.writerow(_COLUMNS)
        table.writerows(files)


def _read_files(part: Path) -> list[File]:
    """Return the files of a part."""
    try:
        if part.suffix == ".parquet":
            columns = _pyarrow()[1].read_table(part, columns=list(_COLUMNS)).to_pydict()
            return [File(*row) for row in zip(*(columns[name] for name in _COLUMNS), strict=True)]
        return list(_read_table(part))
    except (ValueError, KeyError, TypeError) as error:  # pyarrow's are ValueErrors, too
        raise _damaged(part, error) from None


def _read_table(part: Path) -> Iterator[File]:
    with part.open(newline="", encoding="utf-8", errors="surrogateescape") as text:
        for row in csv.DictReader(text):
            yield File(row["path"], int(row["bytes"]), int(row["modified"]))


def _read_part(part: Path) -> tuple[list[File], NDArray[np.float32]]:
    """Return the files and the vectors of a part."""
    files = _read_files(part)
    try:
        if part.suffix == ".parquet":
            column = _pyarrow()[1].read_table(part, columns=["embedding"])["embedding"].combine_chunks()
            vectors = column.flatten().to_numpy().reshape(len(column), -1)
        else:
            vectors = np.load(part.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
    except (ValueError, KeyError, EOFError, FileNotFoundError) as error:
        raise _damaged(part, error) from None
    if vectors.ndim != 2 or len(vectors) != len(files) or vectors.dtype != np.float32:
        raise _damaged(part, f"{len(files)} files, and an array of {vectors.dtype}, {vectors.shape}")
    return files, vectors


def _damaged(part: Path, reason: object) -> ValueError:
    return ValueError(
        f"{plain(part)} is damaged ({plain(reason)}): move the part away, and `efficientnet embed` writes its images "
        "anew."
    )


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing("Parquet needs pyarrow", "similarity") from error
    return pyarrow, pyarrow.parquet
