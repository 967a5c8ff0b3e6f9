"""The names of ImageNet's classes, and the best ones of a prediction."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efficientnet.images.imagenet import class_names, decode_predictions


def scores_of(*best: int, dtype: str = "float32") -> np.ndarray:
    """One image's scores, highest for the first of `best`."""
    scores = np.zeros((1, 1000), dtype)
    for rank, index in enumerate(best):
        scores[0, index] = 0.5 / 2**rank
    return scores


def test_class_names() -> None:
    names = class_names()
    assert len(names) == 1000
    assert names[0] == ("n01440764", "tench")
    assert names[388] == ("n02510455", "giant_panda")
    assert names[999] == ("n15075141", "toilet_tissue")
    wnids = [wnid for wnid, _ in names]
    assert wnids == sorted(set(wnids))  # ImageNet numbers its classes in this order
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)
    assert all(label and " " not in label for _, label in names)


def test_class_names_agree_with_the_facts(facts: Path) -> None:
    lines = (facts / "imagenet_classes.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert [(int(index), wnid, label) for index, wnid, label, _ in rows] == [
        (index, wnid, label) for index, (wnid, label) in enumerate(class_names())
    ]


def test_best_first() -> None:
    batch = np.concatenate([scores_of(388, 0, 7), scores_of(999, 388)])
    decoded = decode_predictions(batch, top=2)
    assert decoded == [
        [("n02510455", "giant_panda", 0.5), ("n01440764", "tench", 0.25)],
        [("n15075141", "toilet_tissue", 0.5), ("n02510455", "giant_panda", 0.25)],
    ]
    assert type(decoded[0][0][2]) is float


def test_top() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 1000))
    assert [len(rows) for rows in decode_predictions(scores)] == [5, 5, 5]
    for rows in decode_predictions(scores, top=1000):
        values = [score for *_, score in rows]
        assert len(set(rows)) == 1000 and values == sorted(values, reverse=True)
    assert decode_predictions(np.zeros((0, 1000))) == []


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64"])
def test_array_types(dtype: str) -> None:
    scores = (scores_of(388, 7) * 200).astype(dtype)
    best, second = decode_predictions(scores, top=2)[0]
    assert best == ("n02510455", "giant_panda", 100.0) and second[2] == 50.0


def test_lists() -> None:
    assert decode_predictions(scores_of(388).tolist(), 1) == [[("n02510455", "giant_panda", 0.5)]]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_tensors(dtype: str) -> None:
    want = [[("n02510455", "giant_panda", 0.5), ("n01440764", "tench", 0.25)]]
    scores = scores_of(388, 0)
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(scores).to(getattr(torch, dtype)).requires_grad_()
    assert decode_predictions(tensor, 2) == want
    jax = pytest.importorskip("jax")
    assert decode_predictions(jax.numpy.asarray(scores, dtype), 2) == want
    tf = pytest.importorskip("tensorflow")
    assert decode_predictions(tf.cast(scores, dtype), 2) == want
    keras = pytest.importorskip("keras")
    assert decode_predictions(keras.ops.convert_to_tensor(scores, dtype), 2) == want


def with_bad_values(rows: list[int], value: float) -> np.ndarray:
    scores = np.zeros((20, 1000))
    scores[rows, 5] = value
    return scores


@pytest.mark.parametrize(
    ("preds", "top", "message"),
    [
        (np.zeros((2, 10)), 5, r"\(batch, 1000\); got \(2, 10\).*its own list of names"),
        (np.zeros(1000), 5, r"got \(1000,\).*preds\[None\]"),
        (np.zeros((1, 1, 1000)), 5, r"got \(1, 1, 1000\)"),
        (np.zeros((1, 7, 7, 1280)), 5, r"got \(1, 7, 7, 1280\).*include_top=True"),
        (np.zeros((2, 1001)), 5, r"background: preds\[:, 1:\]"),
        ([np.zeros((2, 1000)), np.zeros((2, 3))], 5, "got list, which is not an array of numbers.*several outputs"),
        ([["panda"]], 5, "not an array of numbers"),
        (np.zeros((1, 1000)), 2.5, "from 1 to 1000; got 2.5"),
        (np.zeros((1, 1000)), 0, "from 1 to 1000; got 0"),
        (np.zeros((1, 1000)), 1001, "from 1 to 1000; got 1001"),
        (with_bad_values([3, 4], np.nan), 5, r"2 of 20 images .*\(rows 3, 4\).*NaN in"),
        (with_bad_values(list(range(1, 13)), np.inf), 5, r"12 of 20 .*9, 10, \.\.\.\)"),
    ],
)
def test_refuses(preds: Any, top: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_predictions(preds, top)
