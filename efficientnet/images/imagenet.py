"""Network output -> names: the 1,000 classes of ImageNet-1k (ILSVRC 2012)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray


@cache
def class_names() -> tuple[tuple[str, str], ...]:
    """Return the classes in the order of the network's outputs.

    Returns:
        1,000 pairs of WordNet id and label, such as ("n02510455", "giant_panda") at index 388.
    """
    table = files("efficientnet").joinpath("data", "imagenet_classes.tsv")
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return tuple((wnid, label) for _, wnid, label in rows)


def _to_numpy(preds: Any) -> NDArray[np.float64]:
    if hasattr(preds, "detach"):  # PyTorch: out of its graph, off its device
        preds = preds.detach().cpu().double()
    try:
        return np.asarray(preds).astype(np.float64)
    except (TypeError, ValueError) as error:  # lists of unequal length, texts
        raise ValueError(
            f"decode_predictions needs scores of shape (batch, {len(class_names())}), as numbers; got "
            f"{type(preds).__name__}, which is not an array of numbers ({error}). Of a model with several outputs, "
            "pass the one with the classes."
        ) from None


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Name the best-scoring classes of each image.

    Args:
        preds: (batch, 1000) scores of any real type, an array or a tensor: probabilities or logits.
        top: How many classes to name per image, 1 to 1000.

    Returns:
        For each image a list of ``top`` tuples (WordNet id, label, score), best first; of equal
        scores the class with the lower index comes first.

    Raises:
        ValueError: Another shape, NaN or infinite scores, or a ``top`` out of range.

    Example:
        >>> import numpy as np
        >>> scores = np.zeros((1, 1000))
        >>> scores[0, 388] = 1
        >>> decode_predictions(scores, top=1)
        [[('n02510455', 'giant_panda', 1.0)]]
    """
    scores = _to_numpy(preds)
    names = class_names()
    if scores.ndim != 2 or scores.shape[1] != len(names):
        if scores.shape == (len(names),):
            hint = "Add the batch axis: preds[None]."
        elif scores.ndim == 4:
            hint = "These are feature maps: build the model with include_top=True."
        elif scores.ndim == 2 and scores.shape[1] == 1 + len(names):
            hint = "The first of 1001 classes is the background: preds[:, 1:]."
        else:
            hint = "A model with other classes than ImageNet-1k's needs its own list of names."
        raise ValueError(f"decode_predictions needs scores of shape (batch, {len(names)}); got {scores.shape}. {hint}")
    if not isinstance(top, (int, np.integer)) or not 1 <= top <= len(names):
        raise ValueError(f"top is a number of classes from 1 to {len(names)}; got {top}.")
    bad_rows = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad_rows.size:
        shown = ", ".join(map(str, bad_rows[:10])) + (", ..." if bad_rows.size > 10 else "")
        raise ValueError(
            f"The predictions of {bad_rows.size} of {len(scores)} images are NaN or infinite "
            f"(rows {shown}). Look for NaN in these images or in the weights, or for an overflow "
            "of float16."
        )
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [(*names[index], float(row[index])) for index in indices] for row, indices in zip(scores, best, strict=True)
    ]
