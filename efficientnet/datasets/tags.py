"""Images with any number of labels each, from a table or from folders, as the data has them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .samples import Sample, find_samples, read_table
from .splits import sha256_of

# What a column of a label may say of an image.
_YES, _NO = frozenset({"1", "1.0", "true", "yes"}), frozenset({"", "0", "0.0", "-1", "false", "no"})
_SPECIAL = re.compile(r"[\\|;,]")
_LABEL = re.compile(r"(?:\\[\\|;,]|[^|;,])+")
_ESCAPED = re.compile(r"\\([\\|;,])")


@dataclass(frozen=True)
class Tags:
    """Images and the names of their labels.

    Attributes:
        labels: Labels of each image, by its file.
        columns: Labels of which the data says for each image whether they apply; None if it lists those that do.
        notes: Sentences on what was left out or should be known.
    """

    labels: dict[Path, set[str]]
    columns: Sequence[str] | None
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """Names of all labels: those of the columns in their order, or else sorted."""
        return sorted(set().union(*self.labels.values())) if self.columns is None else list(self.columns)


def join_labels(names: Iterable[str]) -> str:
    r"""Return labels as one text, with "|" between them; a backslash precedes each separator in a name.

    Example:
        >>> print(join_labels(["rose", "red|pink"]))
        rose|red\|pink
    """
    return "|".join(_SPECIAL.sub(r"\\\g<0>", name) for name in names)


def split_labels(text: str) -> list[str]:
    r"""Return the labels of a text, as :func:`join_labels` or a person writes it, with "|", ";" or "," between them.

    Example:
        >>> split_labels(r"rose|red\|pink"), split_labels("rose, tulip")
        (['rose', 'red|pink'], ['rose', 'tulip'])
    """
    parts = (part.strip() for part in _LABEL.findall(text))
    return [_ESCAPED.sub(r"\1", part) for part in parts if part]


def read_tags(
    data: Path, whole: Callable[[Iterable[str]], Collection[str]] = lambda texts: (), weight: str | None = None
) -> Tags:
    """Find images and their labels; none is opened, but those of folders are compared by their content.

    Args:
        data: CSV file with the column ``path``, relative to the file, and ``label``, which holds all labels of an
            image as :func:`split_labels` takes them, or one of them if the image has several rows; or with
            ``path`` and a column for each label, 1 or 0. Or a folder with a folder of images per label; an image whose
            file is in several of them counts once, with all of these labels.
        whole: Function from the texts in the column ``label`` to those that are a single label as they are.
        weight: Name of a column that is not a label.

    Raises:
        FileNotFoundError: There is no such folder or file.
        ValueError: The data has no image, or a table is not as described.
    """
    if not data.is_file():
        samples = find_samples(data)
        return _merged(data, samples.found, list(samples.notes))
    columns, rows = read_table(data)
    label = next((name for name in ("label", "labels") if name in columns), None)
    tags = [name for name in columns if name not in ("path", weight)]
    if "path" not in columns or not tags:
        raise ValueError(
            f"{data} has the columns {', '.join(columns) or 'none'}: expected path and label, or path and a column for "
            "each label, in its first line."
        )
    notes = [f"{data}, line {line}: the path is missing: left out." for line, row in rows if not row["path"].strip()]
    rows = [(line, row) for line, row in rows if row["path"].strip()]
    labels: dict[Path, set[str]] = {data.parent / row["path"].strip(): set() for _, row in rows}
    if label is not None:
        single = whole(row[label].strip() for _, row in rows if row[label].strip())
        for _, row in rows:
            text = row[label].strip()  # a name may have a comma in it
            found = [text] if text in single else split_labels(text)
            labels[data.parent / row["path"].strip()].update(found)
        if bare := sum(not found for found in labels.values()):
            notes.append(f"{data}: {bare} images have no label: taken for images that none applies to.")
        return Tags(labels, None, notes)
    open_values = 0
    for line, row in rows:
        for tag in tags:
            value = row[tag].strip().lower()
            if value not in _YES | _NO:
                raise ValueError(
                    f"{data}, line {line}: {tag} is {row[tag]!r}, expected 1 where the label applies, or 0."
                )
            open_values += value in ("", "-1")
            if value in _YES:
                labels[data.parent / row["path"].strip()].add(tag)
    if open_values:
        notes.append(f"{data}: {open_values} values of labels are empty or -1: taken for 0, which does not apply.")
    return Tags(labels, tags, notes)


def _merged(data: Path, samples: Sequence[Sample], notes: list[str]) -> Tags:
    """Return the images of folders of labels; files of the same content are one image."""
    first: dict[str, Path] = {}
    labels: dict[Path, set[str]] = {}
    for sample in samples:
        digest = sha256_of(sample.path) or str(sample.path)  # an unreadable file is a group of its own
        labels.setdefault(first.setdefault(digest, sample.path), set()).add(sample.label)
    if several := sum(len(found) > 1 for found in labels.values()):
        notes.append(f"{data}: {several} images are in several folders: each counts once, with all of their labels.")
    names = Counter(path.name for path in labels)
    if alike := sum(count > 1 for count in names.values()):
        notes.append(f"{data}: {alike} names of files are in several folders with other content: other images.")
    return Tags(labels, None, notes)
