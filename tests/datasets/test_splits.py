"""Images that a training has held out are found again, wherever they lie."""

import shutil

import numpy as np
import pytest
from PIL import Image

from efficientnet.common.files import check_writable
from efficientnet.datasets.files import load_files
from efficientnet.datasets.samples import find_samples
from efficientnet.datasets.splits import select


@pytest.fixture
def run(tmp_path):
    """The folder of a training on ``images``, of which about a half was held out."""
    rng = np.random.default_rng(0)
    for index in range(12):
        folder = tmp_path / "images" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{index}.png")
    data = load_files(tmp_path / "images", 0.5, 8)
    (tmp_path / "run").mkdir()
    data.write_parts(tmp_path / "run")
    return tmp_path / "run"


def test_the_held_out_images_wherever_they_lie(run, tmp_path):
    held_out = [sample.path.name for sample in find_samples(run / "validation.csv").found]  # is a table like others
    assert 2 < len(held_out) < 10
    shutil.copytree(tmp_path / "images", tmp_path / "moved")
    shutil.rmtree(tmp_path / "images")
    found = select(find_samples(tmp_path / "moved"), run, "validation")
    assert sorted(sample.path.name for sample in found.found) == sorted(held_out)
    assert f"{len(held_out)} of the 12 images are in {run / 'validation.csv'}" in found.notes[-1]


def test_evaluating_what_was_trained_on_warns(run, tmp_path):
    samples = find_samples(tmp_path / "images")
    found = select(samples, run, None)
    assert found.found == samples.found
    count = len(find_samples(run / "training.csv").found)
    assert f"{count} of the 12 images are among those that the model was trained on" in found.notes[-1]
    for trained in find_samples(run / "training.csv").found:
        trained.path.unlink()
    assert not select(find_samples(tmp_path / "images"), run, None).notes
    assert select(samples, tmp_path, None) is samples  # no training has left its tables there


def test_a_part_that_is_not_known(run, tmp_path):
    samples = find_samples(tmp_path / "images")
    with pytest.raises(ValueError, match="pass a model in the folder that"):
        select(samples, tmp_path, "validation")
    for sample in samples.found:
        sample.path.write_bytes(b"another")
    with pytest.raises(ValueError, match=r"None of the 12 images is in .*validation\.csv"):
        select(samples, run, "validation")


def test_places_that_cannot_be_written(tmp_path):
    check_writable(tmp_path / "new" / "folders" / "model.keras")
    check_writable(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "model.keras", "/proc/nowhere/model.keras"):
        with pytest.raises(OSError, match=r"cannot be written: .* Choose another place"):
            check_writable(type(tmp_path)(path))
