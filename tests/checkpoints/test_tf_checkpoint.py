"""Reading TensorFlow's checkpoints without it: the right numbers from the right files, at no cost."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tf_bundle_writer import (
    DATA,
    HEADER,
    INDEX,
    contents,
    entry,
    lie,
    pack,
    parts,
    ramp,
    row,
    save,
)

from efficientnet.checkpoints import tf_checkpoint
from efficientnet.errors import CheckpointError

NETWORKS = ("b0", "condconv-b0-4e", "edgetpu-s", "lite0", "v2-b0")
GOLDEN = ["tensorflow", *(f"official-{network}-w0.25" for network in NETWORKS)]
AVERAGE = "/ExponentialMovingAverage"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(tmp_path / "saved", a__kernel=ramp(3, 5), b=ramp(7), c=ramp())


# The right numbers.


@pytest.mark.parametrize("folder", GOLDEN)
def test_averages_are_what_tensorflow_reads(golden: Callable[[str], Path], folder: str) -> None:
    tf = pytest.importorskip("tensorflow")
    path = golden(folder) / "model.ckpt"
    expected = tf.train.load_checkpoint(str(path))
    names = sorted(name for name in expected.get_variable_to_shape_map() if name.endswith(AVERAGE))
    checkpoint = tf_checkpoint.read(path)
    assert checkpoint.averaged
    assert [name + AVERAGE for name in checkpoint.arrays] == names
    for name, stored in checkpoint.arrays.items():
        array = stored.read()
        np.testing.assert_array_equal(array, expected.get_tensor(name + AVERAGE))
        assert (array.shape, array.dtype) == (stored.shape, stored.dtype)


def test_raw_variables_are_what_tensorflow_reads(
    golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tf = pytest.importorskip("tensorflow")
    monkeypatch.setattr(tf_checkpoint, "_AVERAGE", "/as if there were none")
    path = golden("tensorflow") / "model.ckpt"
    expected = tf.train.load_checkpoint(str(path))
    arrays = tf_checkpoint.read(path).arrays
    assert arrays.keys() == expected.get_variable_to_shape_map().keys() - {"global_step"}
    for name, stored in arrays.items():
        np.testing.assert_array_equal(stored.read(), expected.get_tensor(name))


def test_tensorflow_is_not_needed(golden: Callable[[str], Path]) -> None:
    path = str(golden("tensorflow") / "model.ckpt")
    code = (
        "import sys\n"
        "from efficientnet.checkpoints import tf_checkpoint\n"
        f"arrays = tf_checkpoint.read({path!r}).arrays\n"
        "assert len([stored.read() for stored in arrays.values()]) == 32\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_our_writer_writes_what_tensorflow_reads(saved: Path) -> None:
    """Else the tests that only have this writer's files would show nothing about TensorFlow's."""
    tf = pytest.importorskip("tensorflow")
    np.testing.assert_array_equal(tf.train.load_checkpoint(str(saved)).get_tensor("a/kernel"), ramp(3, 5))


def test_every_type_and_several_shards(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    kinds = ["float32", "float64", "float16", "bfloat16", "bool", "int8", "int16", "int32", "int64"]
    kinds += ["uint8", "uint16", "uint32", "uint64"]
    values = {kind: tf.cast(tf.constant([[1.0, 0.0], [3.5, 120.0]]), kind) for kind in kinds}
    values |= {"empty": tf.zeros((0, 4)), "scalar": tf.constant(2.5), "text": tf.constant("no weight")}
    halves = [dict(list(values.items())[at::2]) for at in (0, 1)]
    for at, half in enumerate(halves):
        tf.raw_ops.SaveV2(
            prefix=str(tmp_path / f"part{at}"),
            tensor_names=list(half),
            shape_and_slices=[""] * len(half),
            tensors=list(half.values()),
        )
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(tmp_path / "part0"), str(tmp_path / "part1")],
        destination_prefix=str(tmp_path / "whole"),
    )
    arrays = tf_checkpoint.read(tmp_path / "whole").arrays
    assert (tmp_path / "whole.data-00001-of-00002").is_file()
    assert arrays.keys() == values.keys() - {"text"}
    for name, stored in arrays.items():
        expected = tf.cast(values[name], "float32") if name == "bfloat16" else values[name]
        np.testing.assert_array_equal(stored.read(), expected.numpy())
        assert stored.dtype == stored.read().dtype == expected.numpy().dtype
        assert stored.shape == expected.shape
    (tmp_path / "whole.data-00001-of-00002").unlink()
    with pytest.raises(CheckpointError, match=r"whole\.data-00001-of-00002 is missing"):
        tf_checkpoint.read(tmp_path / "whole")


def test_object_graph_of_tensorflow_2(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    graph = tf.train.Checkpoint(layer=tf.train.Checkpoint(kernel=tf.Variable([1.0, 2.0])))
    path = graph.save(tmp_path / "ckpt")
    checkpoint = tf_checkpoint.read(path)
    assert not checkpoint.averaged
    assert {name: stored.read().tolist() for name, stored in checkpoint.arrays.items()} == {"layer/kernel": [1.0, 2.0]}
    assert tf_checkpoint.read(tmp_path).arrays.keys() == {"layer/kernel"}


def test_split_variable_says_so_when_it_is_read(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "split"),
        tensor_names=["whole", "split"],
        shape_and_slices=["", "4 2 0,2:-"],
        tensors=[tf.constant([7.0]), tf.zeros((2, 2))],
    )
    arrays = tf_checkpoint.read(tmp_path / "split").arrays
    assert arrays["whole"].read().tolist() == [7.0]
    assert arrays["split"].shape == (4, 2)
    with pytest.raises(CheckpointError, match=r"'split' .* was split"):
        arrays["split"].read()


def test_training_state_is_left_out(tmp_path: Path) -> None:
    slots = ["RMSProp", "RMSProp_1", "Momentum", "Adam", "Adam_1"]
    path = save(
        tmp_path,
        a__kernel=ramp(2),
        a__kernel__ExponentialMovingAverage=-ramp(2),
        a__moving_mean=ramp(3),
        global_step=ramp(),
        global_step__ExponentialMovingAverage=ramp(),
        beta1_power=ramp(),
        **{f"a__kernel__{slot}": ramp(2) for slot in slots},
    )
    checkpoint = tf_checkpoint.read(path)
    assert checkpoint.averaged
    assert {name: stored.read().tolist() for name, stored in checkpoint.arrays.items()} == {
        "a/kernel": [0, -1],
        "a/moving_mean": [0, 1, 2],
    }


# The right files.


def test_every_way_to_name_a_checkpoint(saved: Path) -> None:
    expected = contents(tf_checkpoint.read(saved))
    state = saved.parent / "checkpoint"
    state.write_text('model_checkpoint_path: "/tpu/elsewhere/model.ckpt"\nall_model_checkpoint_paths: "x"\n')
    archives = [pack(saved.parent.parent / f"{mode[2:]}.bin", parts(saved), mode) for mode in ("w:", "w:gz")]
    for path in (saved, saved.parent, state, saved.parent / INDEX, saved.parent / DATA, *archives):
        assert tf_checkpoint.recognizes(path)
        assert contents(tf_checkpoint.read(str(path))) == expected


def test_other_paths_are_not_recognized(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "stray.data-00000-of-00001").write_bytes(bytes(100))
    with gzip.open(tmp_path / "text.gz", "wb") as file:
        file.write(b"no archive")
    (tmp_path / "cut.gz").write_bytes(b"\x1f\x8b\x08\x00")
    for path in (tmp_path, tmp_path / "absent", *tmp_path.iterdir()):
        assert not tf_checkpoint.recognizes(path), path
        with pytest.raises((CheckpointError, FileNotFoundError)):
            tf_checkpoint.read(path)
    with pytest.raises(FileNotFoundError):
        tf_checkpoint.read(tmp_path / "absent")


def test_several_checkpoints_in_a_folder(tmp_path: Path) -> None:
    save(tmp_path, "model.ckpt-1", a=ramp(1))
    save(tmp_path, "model.ckpt-20", a=ramp(20))
    with pytest.raises(CheckpointError, match=r"several .*model\.ckpt-1, model\.ckpt-20"):
        tf_checkpoint.read(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-20"\n')
    assert tf_checkpoint.read(tmp_path).arrays["a"].shape == (20,)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-3"\n')
    with pytest.raises(CheckpointError, match="several"):
        tf_checkpoint.read(tmp_path)


@pytest.mark.parametrize("missing", [INDEX, DATA])
def test_missing_file_is_named(saved: Path, missing: str) -> None:
    (saved.parent / missing).unlink()
    with pytest.raises(CheckpointError, match=f"{missing} is missing|no NAME.index"):
        tf_checkpoint.read(saved.parent / (DATA if missing == INDEX else INDEX))


# Cost.


def sparse_gigabyte(folder: Path) -> Path:
    path = lie(folder, HEADER, row(b"a", entry(1, [1 << 28], 0, 1 << 30, b"")), data=b"")
    os.truncate(folder / DATA, 1 << 30)
    return path


def measured(call: Callable[[], object]) -> tuple[float, int]:
    """Seconds of processor time and bytes of memory at most."""
    tracemalloc.start()
    start = time.process_time()
    try:
        call()
        return time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_numbers_are_left_where_they_are(tmp_path: Path) -> None:
    path = sparse_gigabyte(tmp_path)

    def look() -> None:
        stored = tf_checkpoint.read(path).arrays["a"]
        assert (stored.shape, stored.dtype, stored.nbytes) == ((1 << 28,), np.dtype("f4"), 1 << 30)

    seconds, memory = measured(look)
    assert seconds < 0.5
    assert memory < 1 << 20


def test_reading_copies_nothing(tmp_path: Path) -> None:
    array = save(tmp_path, a=ramp(1 << 24))
    stored = tf_checkpoint.read(array).arrays["a"]
    assert measured(stored.read)[1] < 4 << 20
    assert not stored.read().flags.writeable


def test_layers_that_keras_2_numbers_have_the_names_of_keras_3s_files(tmp_path: Path) -> None:
    layer = "body__layer_with_weights-"
    arrays = {
        f"{layer}0__mean": ramp(3), f"{layer}0__variance": ramp(3), f"{layer}0__count": ramp(),
        f"{layer}1__kernel": ramp(3, 3, 3, 4), f"{layer}2__gamma": ramp(4), f"{layer}2__moving_mean": ramp(4),
        f"{layer}3__depthwise_kernel": ramp(3, 3, 4, 1), f"{layer}10__kernel": ramp(4, 2), f"{layer}10__bias": ramp(2),
        f"{layer}9__kernel": ramp(4, 4), f"{layer}4__depthwise_kernel": ramp(3, 3, 4, 1),
        f"{layer}4__pointwise_kernel": ramp(1, 1, 4, 4),  # a SeparableConv2D, which the network has not
        "body__conv2d__0": ramp(1), "out__kernel": ramp(2, 1), "keras_api__metrics__0__total": ramp(),
    }  # fmt: skip
    found = tf_checkpoint.read(save(tmp_path / "saved", **arrays)).arrays
    assert {name: stored.shape for name, stored in found.items()} == {
        "body/normalization/0": (3,), "body/normalization/1": (3,), "body/normalization/2": (),
        "body/layer_with_weights-1/kernel": (3, 3, 3, 4),  # another array has that name
        "body/batch_normalization/0": (4,), "body/batch_normalization/1": (4,),
        "body/depthwise_conv2d/0": (3, 3, 4, 1), "body/dense/0": (4, 4), "body/dense_1/0": (4, 2),
        "body/dense_1/1": (2,), "body/layer_with_weights-4/depthwise_kernel": (3, 3, 4, 1),
        "body/layer_with_weights-4/pointwise_kernel": (1, 1, 4, 4), "body/conv2d/0": (1,), "out/kernel": (2, 1),
    }  # fmt: skip
