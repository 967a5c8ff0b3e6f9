"""The study of fine-tuning: its tasks, its scores and its table."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skimage")

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import finetune_study

    yield finetune_study
    for name in [name for name in sys.modules if name.split(".")[0] in ("finetune_study", "study", "bench")]:
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "counts", "outputs"),
    [("digits-5", (50, 20, 360), 10), ("textures-8", (24, 12, 600), 3)],
)
def test_tasks(study, name, counts, outputs):
    task, again, other = (study.TASKS[name](seed) for seed in (0, 0, 1))
    parts = (task.training, task.validation, task.test)
    assert tuple(len(part.pixels) for part in parts) == counts
    assert all(part.pixels.shape[1:] == (96, 96, 3) and part.pixels.dtype == np.uint8 for part in parts)
    assert len(task.names) == outputs
    np.testing.assert_array_equal(task.training.pixels, again.training.pixels)
    assert not np.array_equal(task.training.pixels, other.training.pixels)
    contents = [{image.tobytes() for image in part.pixels} for part in parts]
    assert not contents[0] & contents[2] and not contents[1] & contents[2]


@pytest.mark.slow
def test_scores(study):
    task = study.TASKS["textures-8"](0)
    truth = task.test.targets
    right = np.eye(3)[truth]
    assert task.score(right) == 1
    assert task.score(np.eye(3)[np.where(truth == 2, 0, truth)]) == pytest.approx(2 / 3)  # mean recall


def test_the_table(study):
    rows = [
        {"task": "digits-5", "method": method, "seed": seed, "score": score + 0.02 * seed}
        for method, score in (("this package", 0.8), ("logistic regression", 0.7))
        for seed in range(3)
    ]
    assert study.table(rows).splitlines() == [
        "| task | this package | logistic regression |",
        "|---|--:|--:|",
        "| digits-5 | 82.0 ± 5.0 | 72.0 ± 5.0 |",
        "| mean of 1 tasks | 82.0 | 72.0 |",
    ]
