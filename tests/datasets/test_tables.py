"""CSV files of images and their labels: what is reported of them."""

import os

import numpy as np
import pytest
from PIL import Image

from efficientnet.datasets.files import load_files
from efficientnet.datasets.labelled import What


def test_a_pipe_is_not_waited_for(tmp_path, capsys):
    """As a table, and as an image that a table names."""
    for index in range(8):
        Image.fromarray(np.full((10, 12, 3), index, np.uint8)).save(tmp_path / f"{index}.png")
    os.mkfifo(tmp_path / "pipe.png")
    rows = [f"{index}.png,{'ab'[index % 2]}" for index in range(8)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label", "pipe.png,a", *rows]))
    data = load_files(tmp_path / "all.csv", 0.5, 16)
    assert len(data.training) + len(data.validation) == 8
    assert "skipped" in (err := capsys.readouterr().err)
    assert "pipe.png is a pipe, which might never end" in err
    os.mkfifo(tmp_path / "pipe.csv")
    for kind in ("classes", "labels", "values"):
        with pytest.raises(OSError, match=r"pipe\.csv is a pipe"):
            load_files(tmp_path / "pipe.csv", 0.5, 16, what=What(kind))


def test_several_labels_that_are_read_as_one_class_are_reported(tmp_path, capsys):
    for index in range(4):
        Image.fromarray(np.full((10, 12, 3), index, np.uint8)).save(tmp_path / f"{index}.png")
    table = tmp_path / "all.csv"
    table.write_text("path,label\n0.png,red\n1.png,red|green\n2.png,red\n3.png,red|green")
    assert load_files(table, 0.5, 16).classes == ["red", "red|green"]
    assert "the label red|green counts as one class; the targets 'labels' (--targets labels)" in capsys.readouterr().err
    load_files(table, 0.5, 16, what=What("labels"))
    assert "counts as one class" not in capsys.readouterr().err
