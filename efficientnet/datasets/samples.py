"""Images and their classes, from a folder per class or a table, and their match with a model's classes."""

from __future__ import annotations

import csv
import difflib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..common import arguments
from ..common.files import check_is_file
from .folders import CLASS_FOLDERS, find_class_folders

_MOST_HINTS = 10
_EXPECTED = f"{CLASS_FOLDERS}, or a CSV file with the columns path and label"


class Sample(NamedTuple):
    """An image's file and the name of its class.

    Example:
        >>> from pathlib import Path
        >>> Sample(Path("flowers/rose/0.jpg"), "rose").label
        'rose'
    """

    path: Path
    label: str


@dataclass(frozen=True)
class Samples:
    """Images of known classes.

    Attributes:
        found: Images, each once.
        notes: Sentences about what was left out, and why.

    Example:
        >>> images = find_samples("flowers")
        >>> len(images.found), images.notes
        (12, [])
    """

    found: Sequence[Sample]
    notes: Sequence[str] = ()


def find_samples(data: str | os.PathLike[str]) -> Samples:
    """Find images and their classes; none is decoded.

    Args:
        data: Folder with a folder per class, whose images may lie in further folders. Or a CSV file with the columns
            ``path``, relative to the file, and ``label``, separated by commas, semicolons or tabs.

    Raises:
        FileNotFoundError: There is no such folder or file.
        ValueError: The data has no image with a class, or the classes lie one folder deeper.

    Example:
        >>> sorted({image.label for image in find_samples("flowers").found})
        ['daisy', 'rose', 'tulip']
    """
    data = Path(arguments.path("data", data, _EXPECTED))
    if data.is_dir():
        folders = find_class_folders(data)
        found = [Sample(path, label) for label, paths in folders.images.items() for path in paths]
        samples = Samples(found, folders.notes)
    elif data.exists():
        samples = _in_table(data)
    else:
        raise FileNotFoundError(f"There is no file or folder {data}: expected {_EXPECTED}.")
    if not samples.found:
        raise ValueError(" ".join([f"{data} holds no image with a class: expected {_EXPECTED}.", *samples.notes]))
    return samples


def _in_table(data: Path) -> Samples:
    columns, table = read_table(data)
    if not {"path", "label"} <= set(columns):
        named = ", ".join(columns) or "none"
        raise ValueError(f"{data} has the columns {named}: expected path and label in its first line.")
    rows = [(line, row["path"], row["label"]) for line, row in table]
    notes = []
    labels: dict[Path, dict[str, int]] = {}  # by file, label and its line
    for line, name, label in rows:
        if not name.strip() or not label.strip():
            notes.append(f"{data}, line {line}: the {'label' if name.strip() else 'path'} is missing: left out.")
            continue
        seen = labels.setdefault(data.parent / name.strip(), {})
        if label.strip() in seen:
            notes.append(f"{data}, line {line}: {name} stands in line {seen[label.strip()]} already: counted once.")
        seen.setdefault(label.strip(), line)
    for path, seen in labels.items():
        if len(seen) > 1:
            shown = " and ".join(f"{label} (line {line})" for label, line in seen.items())
            notes.append(f"{data}: {path} is called {shown}: left out")
    return Samples([Sample(path, *seen) for path, seen in labels.items() if len(seen) == 1], notes)


def read_table(data: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read the columns of a CSV file, and its rows with their line numbers.

    Missing values are empty; rows of missing values alone are left out.

    Commas, semicolons or tabs separate them, whichever is most frequent in the first line.

    Raises:
        OSError: The path is a pipe or a device.
        ValueError: The file is not a table.
    """
    check_is_file(data)
    try:
        with data.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            table = csv.DictReader(file, delimiter=max(",;\t", key=header.count), skipinitialspace=True)
            columns = [name for name in table.fieldnames or () if name]
            if twice := {name for name in columns if columns.count(name) > 1}:
                raise ValueError(f"{data} has several columns named {', '.join(sorted(twice))}: name each once.")
            rows = []
            for row in table:
                if any(row.pop(None, ())):
                    raise ValueError(
                        f"{data}, line {table.line_num}: there are more values than columns in the first line. Put "
                        f'values that hold a {table.reader.dialect.delimiter!r} in "quotes".'
                    )
                values = {name: row[name] or "" for name in columns}
                rows += [(table.line_num, values)] if any(values.values()) else []
            return columns, rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{data} is not a CSV file in UTF-8 ({error}): save it as one.") from None


def checked_classes(classes: Any) -> list[tuple[str, str]]:
    """Return the classes as a list.

    Raises:
        TypeError, ValueError: The classes are not pairs of texts.
    """
    expected = "a list of pairs, the id and the name of each class"
    pairs = arguments.iterable("classes", classes, expected)
    texts = [arguments.items("classes", pair, str, expected, least=2) for pair in pairs]
    return [(pair[0], pair[1]) for pair in texts]


def match_classes(labels: Iterable[str], classes: Sequence[tuple[str, str]]) -> tuple[dict[str, int], list[str]]:
    """Find the class of a model for each label.

    A label is the model's name of a class, or differs from it only in case and signs ("T-shirt_top" is "T-shirt/top");
    or it is an id, such as ImageNet's. Names that only number the outputs are ids, too.

    Args:
        labels: Labels of the data.
        classes: Id and name of each output, as in ``efficientnet predict``.

    Returns:
        The index of each label's class, and a sentence for each label without one.

    Example:
        >>> match_classes(["Cat", "dog"], [("0", "dog"), ("1", "cat")])
        ({'Cat': 1, 'dog': 0}, [])
    """
    labels = arguments.items("labels", labels, str, "names of classes")
    classes = checked_classes(classes)
    exact, alike = _index(name for _, name in classes), _index(_plain(name) for _, name in classes)
    # If classes have names, a number is not an id: "7" may be the name of another class than the seventh.
    ids = _index(key if not key.isdigit() or name == f"class_{key}" else "" for key, name in classes)
    matched: dict[str, int] = {}
    notes = []
    for label in dict.fromkeys(labels):
        found = exact.get(label) or ids.get(label) or alike.get(_plain(label)) or []
        if len(found) == 1:
            matched[label] = found[0]
        elif found:
            meant = ", ".join(f"{classes[index][0]} ({classes[index][1]})" for index in found)
            notes.append(f"The class {label} is several of the model's: use the ids {meant}.")
        else:
            # A few of many unknown labels show what is wrong, and each takes a while.
            near = difflib.get_close_matches(_plain(label), alike, n=1) if len(notes) < _MOST_HINTS else []
            hint = f" Did you mean {classes[alike[near[0]][0]][1]}?" if near else ""
            notes.append(f"The class {label} is not one of the model's {len(classes)}.{hint}")
    return matched, notes


def _index(names: Iterable[str]) -> dict[str, list[int]]:
    """Return the indices of each name."""
    places: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        if name:
            places.setdefault(name, []).append(index)
    return places


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name).strip("_").casefold()
