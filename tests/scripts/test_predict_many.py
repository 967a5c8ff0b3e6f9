"""Many images through Ray Data: what is found, the same predictions as of one process, and nothing lost or repeated."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from killed_runs import SCRIPTS, Run
from PIL import Image

from efficientnet.common.files import only_writer

pa = pytest.importorskip("pyarrow", reason="needs Ray Data: pip install 'efficientnet[ray]>=2'")
pq = pytest.importorskip("pyarrow.parquet")

COUNT = 60


@pytest.fixture(scope="module")
def predict_many() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        return importlib.import_module("predict_many")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Images in folders of folders, one of them damaged, beside a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(COUNT - 1):
        path = folder / str(index % 3) / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((48, 40)).save(path)
    (folder / "0" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    tiny(weights=None, input_shape=(32, 32, 3), classes=3, include_preprocessing=True).save(path)
    return path


def read(out: Path) -> list[dict]:
    return pq.read_table(out).to_pylist()


def test_images_of_a_folder(predict_many, images):
    found = predict_many.find_images(images)
    assert len(found) == COUNT
    assert {image.path.partition("/")[0] for image in found} == {"0", "1", "2"}
    assert all(image.row < 0 and Path(image.file).is_file() for image in found)


def test_rows_of_parquet(predict_many, tmp_path):
    (tmp_path / "deep").mkdir()
    pq.write_table(
        pa.table({"bytes": [b"a", b"b", None], "path": ["x.png", "y.png", "y.png"]}),
        tmp_path / "contents.parquet", row_group_size=2,
    )  # fmt: skip
    pq.write_table(pa.table({"path": ["y.png", "z.png", "https://example.org/w.png"]}), tmp_path / "deep/paths.parquet")
    pq.write_table(pa.table({"image": [{"bytes": b"c", "path": None}]}), tmp_path / "nested.parquet")
    found = predict_many.find_images(tmp_path)
    assert [image.path for image in found] == [
        "x.png", "contents.parquet#1", "contents.parquet#2", "y.png", "z.png", "https://example.org/w.png",
        "nested.parquet#0",
    ]  # fmt: skip
    content = predict_many.Contents()
    assert [content(image) for image in found] == [
        b"a", b"b", b"", f"{tmp_path}/deep/y.png", f"{tmp_path}/deep/z.png", "https://example.org/w.png", b"c",
    ]  # fmt: skip
    assert [content(image) for image in reversed(found[:3])] == [b"", b"b", b"a"]


def test_a_name_that_is_not_utf_8(predict_many, model, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (20, 20)).save(tmp_path / name)
    (image,) = predict_many.find_images(tmp_path)
    asked = predict_many.Model(str(model), None, None, "keras", "f32", (), 3)
    (row,) = predict_many.Worker(asked, None, threads=1)(pa.Table.from_pylist([predict_many.as_row(image)])).to_pylist()
    assert row["path"] == "caf\\xe9.png"
    assert row["error"] is None
    assert row["class"]


def test_nothing_to_ask(predict_many, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert predict_many.main([str(tmp_path / "missing"), *out]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert predict_many.main([str(tmp_path), *out]) == 2
    assert "holds no images" in capsys.readouterr().err
    pq.write_table(pa.table({"image": [b"a"]}), tmp_path / "odd.parquet")
    assert predict_many.main([str(tmp_path), *out]) == 2
    assert "columns image: expected bytes or path" in capsys.readouterr().err


def test_answers_are_added_whole_and_of_one_model(predict_many, tmp_path):
    def table(path, error):
        row = {
            "path": path,
            "class": ["1"],
            "label": ["b"],
            "probability": [0.5],
            "kind": "probabilities",
            "error": error,
        }
        return pa.Table.from_pylist([row], predict_many.schema())

    left_over = tmp_path / ".efficientnet-part-ab_12345"
    left_over.mkdir()
    (left_over / "predictions-000001.parquet").write_bytes(b"half")
    with only_writer(tmp_path):
        predictions = predict_many.Predictions(tmp_path)
        predictions.check({"model": "b0"})
        predictions.add(table("a", None))
        predictions.add(table("b", "damaged"))
        assert predictions.paths() == {"a", "b"}
        with pytest.raises(OSError, match="Another process"), only_writer(tmp_path):
            pass
        predictions.drop_errors()
        assert predictions.paths() == {"a"}
        with pytest.raises(ValueError, match="choose another --out"):
            predictions.check({"model": "b1"})
    assert not left_over.exists()
    left_over.mkdir()
    (left_over / "predictions-000002.parquet").write_bytes(b"")  # what a process writes at this moment
    assert [row["path"] for row in read(tmp_path)] == ["a"]


def test_a_worker_keeps_its_options(predict_many, tmp_path, keras):
    from efficientnet.model_io.outputs import softmax

    layers = [keras.layers.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    network = keras.Sequential(layers)
    network.save(tmp_path / "logits.keras")
    for name, side in (("large.png", 30), ("small.png", 20)):
        Image.new("RGB", (side, side), (200, 100, 50)).save(tmp_path / name)
    images = pa.Table.from_pylist([predict_many.as_row(image) for image in predict_many.find_images(tmp_path)])
    asked = predict_many.Model(str(tmp_path / "logits.keras"), None, "none", "keras", "f32", (), 3, softmax=True)
    limit = Image.MAX_IMAGE_PIXELS
    large, small = predict_many.Worker(asked, 400, threads=1)(images).to_pylist()
    assert limit == Image.MAX_IMAGE_PIXELS
    assert "30 x 30 pixels exceed the limit of 400" in large["error"]
    logits = network.predict(np.full((1, 16, 16, 3), (200, 100, 50), "float32"), verbose=0)[0]
    assert small["kind"] == "probabilities"
    np.testing.assert_allclose(small["probability"], np.sort(softmax(logits))[::-1], atol=1e-6)
    with pytest.raises(SystemExit):
        predict_many.make_parser().parse_args([str(tmp_path), "--out", str(tmp_path), "--top", "0"])


@pytest.mark.slow
def test_a_killed_run_and_then_a_killed_worker(predict_many, images, model, tmp_path):
    pytest.importorskip("ray", reason="needs Ray Data: pip install 'efficientnet[ray]>=2'")
    out = tmp_path / "out"
    command = [
        sys.executable, SCRIPTS / "predict_many.py", images, "--out", out, "--model", model, "--top", "2",
        "--workers", "2", "--shard", "1",
    ]  # fmt: skip

    def count_written() -> int:
        return len(list(out.glob("predictions-*")))

    with Run(command, count_written) as run:
        run.wait_for(1)
    before = read(out)
    assert 0 < len(before) < COUNT

    with Run(command, count_written) as run:
        run.wait_for(len(before) + 1)
        run.kill_a_worker()
        status, printed = run.finish()
    assert status == 1, printed
    assert "1 images could not be read" in printed
    rows = {row["path"]: row for row in read(out)}
    assert len(rows) == len(read(out)) == COUNT

    asked = predict_many.Model(str(model), None, None, "auto", "f32", (), 2)
    with asked.compile(threads=1) as predictor:
        expected = predict_many.predict_items(predict_many.find_images(images), predictor, 2).to_pylist()
    for row in expected:
        predicted = rows[row["path"]]
        assert predicted["class"] == row["class"], row["path"]
        np.testing.assert_allclose(predicted["probability"], row["probability"], atol=1e-6)
        assert predicted["error"] == row["error"]
    assert "broken.jpg" in rows["0/broken.jpg"]["error"]
