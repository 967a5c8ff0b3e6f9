"""Many images through Ray Data: what is found, the same predictions as of one process, and nothing lost or repeated."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

pa = pytest.importorskip("pyarrow", reason="needs Ray Data: pip install 'efficientnet[ray]>=2'")
pq = pytest.importorskip("pyarrow.parquet")

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "predict_many.py"
COUNT = 60


@pytest.fixture(scope="module")
def predict_many() -> ModuleType:
    spec = importlib.util.spec_from_file_location("predict_many", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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


def descendants(pid: int) -> dict[int, str]:
    """The processes that a process has started, and theirs: what each calls itself."""
    parents, names = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(process.name)] = (process / "cmdline").read_text()
        except OSError:  # it has ended meanwhile
            continue

    def is_below(child: int) -> bool:
        return child == pid or (child in parents and is_below(parents[child]))

    return {child: names[child] for child in parents if child != pid and child in names and is_below(child)}


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


def test_nothing_to_ask(predict_many, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert predict_many.main([str(tmp_path / "missing"), *out]) == 2
    assert "There is no" in capsys.readouterr().err
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

    left_over = tmp_path / "efficientnet-part-ab_12345"
    left_over.mkdir()
    (left_over / "predictions-000001.parquet").write_bytes(b"half")
    with predict_many.Predictions(tmp_path) as predictions:
        predictions.check({"model": "b0"})
        predictions.add(table("a", None))
        predictions.add(table("b", "damaged"))
        assert predictions.paths() == {"a", "b"}
        with pytest.raises(ValueError, match="Another run"), predict_many.Predictions(tmp_path):
            pass
        predictions.drop_errors()
        assert predictions.paths() == {"a"}
        with pytest.raises(ValueError, match="choose another --out"):
            predictions.check({"model": "b1"})
    assert [row["path"] for row in read(tmp_path)] == ["a"]
    assert not left_over.exists()


def test_a_worker_keeps_its_options(predict_many, tmp_path, keras):
    from efficientnet.model_io.outputs import softmax

    layers = [keras.layers.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    network = keras.Sequential(layers)
    network.save(tmp_path / "logits.keras")
    for name, side in (("large.png", 30), ("small.png", 20)):
        Image.new("RGB", (side, side), (200, 100, 50)).save(tmp_path / name)
    images = pa.Table.from_pylist([image._asdict() for image in predict_many.find_images(tmp_path)])
    asked = predict_many.Model(str(tmp_path / "logits.keras"), None, "none", "keras", "f32", (), 3, softmax=True)
    limit = Image.MAX_IMAGE_PIXELS
    large, small = predict_many.Worker(asked, 1, 400)(images).to_pylist()
    assert limit == Image.MAX_IMAGE_PIXELS
    assert "30 x 30 pixels exceed the limit of 400" in large["error"]
    logits = network.predict(np.full((1, 16, 16, 3), (200, 100, 50), "float32"), verbose=0)[0]
    assert small["kind"] == "probabilities"
    np.testing.assert_allclose(small["probability"], np.sort(softmax(logits))[::-1], atol=1e-6)
    with pytest.raises(SystemExit):
        predict_many.parse_options([str(tmp_path), "--out", str(tmp_path), "--top", "0"])


@pytest.mark.slow
def test_killed_workers_and_a_killed_run(predict_many, images, model, tmp_path):
    pytest.importorskip("ray", reason="needs Ray Data: pip install 'efficientnet[ray]>=2'")
    out = tmp_path / "out"
    command = [
        sys.executable, SCRIPT, images, "--out", out, "--model", model, "--top", "2",
        "--workers", "2", "--shard", "1",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}

    def wait_for_answers(run: subprocess.Popen, files: int) -> None:
        deadline = time.monotonic() + 120
        while len(list(out.glob("predictions-*"))) < files and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)

    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as run:
        wait_for_answers(run, 1)
        below = descendants(run.pid)
        workers = [pid for pid, name in below.items() if name.startswith("ray::") and "Worker" in name]
        assert workers, run.communicate(timeout=30)[1] if run.poll() is not None else below
        os.kill(workers[0], signal.SIGKILL)
        wait_for_answers(run, 4)
        assert run.poll() is None, "it was over before it could be killed"
        run.kill()
    before = read(out)
    assert 0 < len(before) < COUNT

    resumed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert resumed.returncode == 1, resumed.stderr
    assert "1 images could not be read" in resumed.stderr
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
