"""Embeddings by workers of Ray Data: those of `efficientnet embed`, and nothing lost or computed twice."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest
from color_models import CORNERS, color_model, save_with_names
from killed_runs import SCRIPTS, Run
from PIL import Image

from efficientnet.cli.main import main
from efficientnet.similarity import Embeddings, network_of

pa = pytest.importorskip("pyarrow", reason="needs Ray Data: pip install 'efficientnet[ray]>=2'")

COUNT = 40


@pytest.fixture
def embed_many(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    import embed_many

    return embed_many


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Images of random colors in folders of folders, one of them damaged."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        path = folder / str(index % 3) / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 16), tuple(map(int, rng.integers(0, 256, 3)))).save(path)
    (folder / "0" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return save_with_names(color_model(keras, *CORNERS), tmp_path_factory.mktemp("model"), ("x", "y"))


@pytest.fixture
def without_ray(embed_many, monkeypatch) -> list[int]:
    """Have the workers' class do the work in this process; return the sizes of the shards."""
    from many import workers

    sizes = []

    @contextlib.contextmanager
    def work(rows, worker, arguments, options, threads):
        made = workers.Guarded(worker, arguments, threads=1)
        rows = list(rows)
        shards = [rows[start : start + options.shard] for start in range(0, len(rows), options.shard)]
        sizes.extend(map(len, shards))
        yield workers.checked(made(pa.Table.from_pylist(shard)) for shard in reversed(shards))

    monkeypatch.setattr(embed_many, "work", work)
    return sizes


def assert_same(out: Path, expected: Path) -> None:
    one, other = Embeddings.read(out), Embeddings.read(expected)
    assert (one.root, one.paths, one.settings) == (other.root, other.paths, other.settings)
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_embeddings_are_those_of_the_command(embed_many, without_ray, images, model, tmp_path, format, capsys, request):
    odd = images / "1" / os.fsdecode(b"caf\xe9.png")  # which Parquet does not take
    Image.new("RGB", (20, 16)).save(odd)
    request.addfinalizer(odd.unlink)
    given = [str(images), "--model", model, "--format", format]
    expected, out = tmp_path / "expected", tmp_path / "out"
    assert main(["embed", *given, "--out", str(expected)]) == 1
    of_command = capsys.readouterr()
    assert embed_many.main([*given, "--out", str(out), "--shard", "16"]) == 1
    of_script = capsys.readouterr()
    assert_same(out, expected)
    assert len(list(out.glob("part-*"))) == (6 if format == "npy" else 3)
    assert sorted(of_script.err.splitlines()) == sorted(of_command.err.splitlines())
    assert of_script.out.replace("out:", "expected:") == of_command.out
    assert main(["similar", str(images / "0" / "0.png"), "--in", str(out), "--csv"]) == 0
    assert f"1,{images}/0/0.png,1.0" in capsys.readouterr().out


def test_each_continues_what_the_other_began(embed_many, without_ray, images, model, tmp_path, capsys):
    given = [str(images), "--model", model, "--out", str(tmp_path / "out")]
    assert main(["embed", *given]) == 1
    assert embed_many.main(given) == 1
    assert without_ray == [1]  # what cannot be read is asked again
    assert f"0 images embedded, {COUNT} were there" in capsys.readouterr().out


def test_a_worker_keeps_its_options(embed_many, images, model):
    network = network_of(model)
    worker = embed_many.Worker(network.settings, images, {"engine": "keras", "batch_size": 2}, 300, threads=1)
    limit = Image.MAX_IMAGE_PIXELS
    (row,) = worker(pa.table({"path": [b"0/0.png"]})).to_pylist()
    assert row["vector"] is None
    assert "20 x 16 pixels exceed the limit of 300" in row["error"]
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match="of another network"):  # another file than the one that the run began with
        embed_many.Worker({**network.settings, "digest": "0"}, images, {}, None, threads=1)


def test_a_model_that_cannot_be_compiled_is_reported_in_a_line(embed_many, without_ray, images, tmp_path, capsys):
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()]).save(tmp_path / "unscaled.keras")
    given = ["--model", str(tmp_path / "unscaled.keras"), "--out", str(tmp_path / "out")]
    assert embed_many.main([str(images), *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not record how its pixels are scaled" in line


def test_whatever_a_worker_raises_is_reported(embed_many):
    from many import workers

    class Faulty:
        def __init__(self, threads):
            raise KeyError("classes")

    with pytest.raises(ValueError, match="KeyError: 'classes'"):
        next(workers.checked([workers.Guarded(Faulty, (), threads=1)(pa.table({}))]))


def test_nothing_to_embed(embed_many, without_ray, tmp_path, capsys, monkeypatch):
    out = ["--out", str(tmp_path / "out")]
    assert embed_many.main([str(tmp_path / "missing"), *out]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert embed_many.main([str(tmp_path), *out]) == 2
    assert "holds no images" in capsys.readouterr().err
    monkeypatch.setattr("many.workers.find_spec", lambda name: None)
    assert embed_many.main([str(tmp_path), *out]) == 2
    assert "pip install 'efficientnet[ray]>=2'" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_workers_and_a_killed_run(embed_many, without_ray, images, model, tmp_path, capsys):
    """Ray runs once; what is left is computed by the same script without it, since a start takes most of the time."""
    pytest.importorskip("ray", reason="needs Ray Data: pip install 'efficientnet[ray]>=2'")
    expected, out = tmp_path / "expected", tmp_path / "out"
    given = [str(images), "--model", model]
    assert main(["embed", *given, "--out", str(expected)]) == 1
    given += ["--out", str(out), "--workers", "2", "--shard", "1"]
    command = [sys.executable, SCRIPTS / "embed_many.py", *given]
    with Run(command, lambda: len(list(out.glob("part-*.csv")))) as run:
        run.wait_for(1)
        run.kill_a_worker()
        run.wait_for(4)
    known = len(Embeddings.read(out).paths)
    assert 0 < known < COUNT
    assert embed_many.main(given) == 1
    assert sum(without_ray) == COUNT + 1 - known
    assert "broken.jpg" in capsys.readouterr().err
    assert_same(out, expected)
    assert sum(len(np.load(part)) for part in out.glob("part-*.npy")) == COUNT
