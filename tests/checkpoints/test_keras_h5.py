"""Reading Keras' own files without Keras and without the HDF5 library."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sample_files import (
    ARRAYS,
    BY_NAME,
    BY_NUMBER,
    KERAS,
    keras2_model,
    keras2_weights,
    keras3_weights,
    keras_archive,
    keras_custom_class,
)

h5py = pytest.importorskip("h5py")

from efficientnet.checkpoints import keras_archive as archive_reader  # noqa: E402
from efficientnet.checkpoints import keras_h5  # noqa: E402
from efficientnet.family.arrays import role  # noqa: E402

GOLDEN = ["keras-b0", "keras-v2-b0", "qubvel-b0"]
GOLDEN += ["keras-b0-w0.25", "keras-v2b0-w0.25", "qubvel-w0.25", "qubvel-w0.25-notop"]

# Layers in the order of their groups' names: batch_normalization, conv2d, dense.
GROUPS = ["stem_bn", "stem_conv", "probs"]


def read(path):
    return (archive_reader if path.suffix == ".keras" else keras_h5).read(path)


def assert_equal(arrays, expected):
    assert list(arrays) == list(expected)
    for name, stored in arrays.items():
        array = stored.read()
        assert stored.shape == array.shape and stored.dtype == array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name])


class TestLayouts:
    @pytest.mark.parametrize(
        ("writer", "format"), [(keras2_weights, "Keras 2 weights, HDF5"), (keras2_model, "Keras 2 model, HDF5")]
    )
    def test_keras2(self, tmp_path, writer, format):
        writer(tmp_path / "net")
        checkpoint = keras_h5.read(tmp_path / "net")
        assert (checkpoint.format, checkpoint.averaged, checkpoint.layers) == (format, False, tuple(ARRAYS))
        assert_equal(checkpoint.arrays, BY_NAME)
        with h5py.File(tmp_path / "net", "r+") as file:
            file.attrs["keras_version"] = "3.15.1"
        assert keras_h5.read(tmp_path / "net").format == format.replace("2", "3", 1)

    def test_keras3(self, tmp_path):
        keras3_weights(tmp_path / "net")
        checkpoint = keras_h5.read(tmp_path / "net")
        assert checkpoint.format == "Keras 3 weights, HDF5"
        assert set(checkpoint.layers) == set(ARRAYS)
        assert_equal(checkpoint.arrays, BY_NUMBER)

    def test_archive(self, tmp_path):
        keras_archive(tmp_path / "net")
        assert archive_reader.recognizes(tmp_path / "net")
        checkpoint = archive_reader.read(tmp_path / "net")
        assert (checkpoint.format, checkpoint.layers) == ("Keras 3 model, .keras", tuple(ARRAYS))
        in_order = sorted(BY_NAME, key=lambda name: GROUPS.index(name.split("/")[0]))
        assert_equal(checkpoint.arrays, {name: BY_NAME[name] for name in in_order})

    def test_numbers_are_in_natural_order(self, tmp_path):
        with h5py.File(tmp_path / "net", "w") as file:
            for name in ("conv2d_10", "conv2d", "conv2d_2"):
                for index in range(11):
                    file[f"layers/{name}/vars/{index}"] = np.zeros(1)
        names = list(keras_h5.read(tmp_path / "net").arrays)
        assert names == [f"{name}/{i}" for name in ("conv2d", "conv2d_2", "conv2d_10") for i in range(11)]

    def test_lists_in_several_attributes_and_of_fixed_length(self, tmp_path):
        with h5py.File(tmp_path / "net", "w") as file:
            file.attrs["layer_names0"] = np.array([b"first"])
            file.attrs["layer_names1"] = np.array([b"second", b"third"])
            for name in ("first", "second", "third"):
                file.create_group(name).attrs["weight_names"] = np.array([f"scope_1/{name}/kernel:0".encode()])
                file[f"{name}/scope_1/{name}/kernel:0"] = np.zeros(2)
        assert list(keras_h5.read(tmp_path / "net").arrays) == ["first/kernel", "second/kernel", "third/kernel"]

    def test_kinds_of_numbers(self, tmp_path):
        ml_dtypes = pytest.importorskip("ml_dtypes")
        values = np.linspace(-3, 3, 7)
        kinds = ["<f2", "<f4", "<f8", ">f4", "i1", "<i4", ">i8", "u1", "<u2"]
        with h5py.File(tmp_path / "net", "w") as file:
            for index, kind in enumerate(kinds):
                file[f"layers/dense/vars/{index}"] = np.abs(values).astype(kind)
            file["layers/scalar/vars/0"] = np.float32(2.5)
            file["layers/empty/vars/0"] = np.zeros((3, 0, 2), "f4")
            wide = file.create_dataset("layers/wide/vars/0", data=values.astype(ml_dtypes.bfloat16))
            wide.attrs["dtype"] = "bfloat16"
        expected = {f"dense/{index}": np.abs(values).astype(kind) for index, kind in enumerate(kinds)}
        expected |= {"empty/0": np.zeros((3, 0, 2), "f4"), "scalar/0": np.array(2.5, "f4")}
        expected["wide/0"] = values.astype(ml_dtypes.bfloat16).astype("f4")
        assert_equal(keras_h5.read(tmp_path / "net").arrays, expected)

    @pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}])
    def test_compressed(self, tmp_path, options):
        array = np.random.default_rng(0).normal(size=(50, 70, 3)).astype("f4")
        with h5py.File(tmp_path / "net", "w") as file:
            file.create_dataset("layers/dense/vars/0", data=array, chunks=(16, 32, 3), **options)
        assert_equal(keras_h5.read(tmp_path / "net").arrays, {"dense/0": array})

    @pytest.mark.parametrize("name", GOLDEN)
    def test_golden_files_are_as_h5py_reads_them(self, golden, name):
        paths = list(golden(name).glob("*.h5"))
        assert paths
        for path in paths:
            found = keras_h5.read(path).arrays
            expected = []
            with h5py.File(path) as file:
                file.visititems(lambda name, item: expected.append(item[()]) if hasattr(item, "shape") else None)  # noqa: B023
            assert len(found) == len(expected)

            def key(array):
                return array.shape, np.asarray(array).tobytes()

            assert sorted(map(key, (stored.read() for stored in found.values()))) == sorted(map(key, expected))


class TestAgainstKeras:
    @staticmethod
    def network(keras, name, **options):
        layers = keras.layers
        inputs = keras.Input((8, 8, 3))
        x = layers.Normalization(name=f"{name}_normalization")(inputs)
        x = layers.Conv2D(4, 3, use_bias=False, name="stem_conv")(x)
        x = layers.BatchNormalization(name="stem_bn", **options)(x)
        x = layers.DepthwiseConv2D(3, name="dwconv")(x)
        x = layers.Conv2D(5, 1, name="head")(x)
        x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
        model = keras.Model(inputs, layers.Dense(3, name="probs")(x), name=name)
        rng = np.random.default_rng(len(name))
        model.set_weights([rng.normal(size=weight.shape).astype("f4") for weight in model.get_weights()])
        return model

    @staticmethod
    def weights(model, prefix=""):
        found = {}
        for layer in model.layers:
            for weight, value in zip(layer.weights, layer.get_weights(), strict=True):
                found[f"{prefix}{layer.name}/{role(weight.name)}"] = value
        return found

    def check(self, found, expected):
        assert_equal({name: found[name] for name in sorted(found)}, {name: expected[name] for name in sorted(expected)})

    @pytest.mark.parametrize("suffix", [".h5", ".keras"])
    @pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"scale": False, "center": False}])
    def test_by_name(self, keras, tmp_path, suffix, options):
        model = self.network(keras, "net", **options)
        model.save(tmp_path / f"net{suffix}")
        checkpoint = read(tmp_path / f"net{suffix}")
        self.check(checkpoint.arrays, self.weights(model))
        assert checkpoint.layers == tuple(layer.name for layer in model.layers)

    def test_by_number(self, keras, tmp_path):
        model = self.network(keras, "net")
        model.save_weights(tmp_path / "net.weights.h5")
        found = keras_h5.read(tmp_path / "net.weights.h5").arrays
        groups = keras_h5.number_layers((layer.name, type(layer).__name__) for layer in model.layers)
        assert {"conv2d": "stem_conv", "conv2d_1": "head", "depthwise_conv2d": "dwconv"}.items() <= groups.items()
        expected = {}
        for group, name in groups.items():
            for index, value in enumerate(model.get_layer(name).get_weights()):
                expected[f"{group}/{index}"] = value
        self.check(found, expected)

    @pytest.mark.slow
    @pytest.mark.parametrize("suffix", [".h5", ".keras", ".weights.h5"])
    def test_a_trained_model_around_the_network(self, keras, backend, tmp_path, suffix):
        if backend == "openvino":
            pytest.skip("Keras on OpenVINO does not train")
        inner = self.network(keras, "net")
        model = keras.Sequential([keras.Input((8, 8, 3)), inner, keras.layers.Dense(2, name="mine")])
        model.compile("adam", "mse")
        model.fit(np.ones((4, 8, 8, 3)), np.ones((4, 2)), verbose=0)
        path = tmp_path / f"net{suffix}"
        (model.save_weights if suffix == ".weights.h5" else model.save)(path)
        found = read(path).arrays
        mine = dict(zip(("kernel", "bias"), model.get_layer("mine").get_weights(), strict=True))
        if suffix == ".weights.h5":
            assert {"dense/0", "dense/1", "functional/dense/0", "functional/conv2d_1/1"} <= set(found)
            np.testing.assert_array_equal(found["functional/conv2d/0"], inner.get_layer("stem_conv").get_weights()[0])
            assert len(found) == len(self.weights(inner)) + 2
        else:
            self.check(found, self.weights(inner) | {f"mine/{role}": value for role, value in mine.items()})

    @pytest.mark.parametrize(("suffix", "prefix"), [(".h5", "second/"), (".keras", "functional_1/")])
    def test_two_networks_in_one_model(self, keras, tmp_path, suffix, prefix):
        first, second = self.network(keras, "first"), self.network(keras, "second")
        inputs = keras.Input((8, 8, 3))
        keras.Model(inputs, keras.layers.Add()([first(inputs), second(inputs)])).save(tmp_path / f"net{suffix}")
        found = read(tmp_path / f"net{suffix}").arrays
        assert len(found) == len(self.weights(first)) + len(self.weights(second))
        np.testing.assert_array_equal(found["probs/kernel"], first.get_layer("probs").get_weights()[0])
        np.testing.assert_array_equal(found[f"{prefix}probs/kernel"], second.get_layer("probs").get_weights()[0])

    def test_shards(self, keras, is_legacy, tmp_path):
        if is_legacy or not hasattr(keras.src.saving.saving_lib, "ShardedH5IOStore"):
            pytest.skip("this Keras does not save in shards")
        self.network(keras, "net").save_weights(tmp_path / "net.weights.json", max_shard_size=1e-3)
        assert keras_h5.recognizes((tmp_path / "net.weights.json").read_bytes()[:512])
        self.network(keras, "net").save_weights(tmp_path / "net.weights.h5")
        shards, whole = (keras_h5.read(tmp_path / f"net.weights.{suffix}").arrays for suffix in ("json", "h5"))
        assert shards.keys() == whole.keys()
        for name, stored in whole.items():
            assert stored.shape == shards[name].shape


class TestLaziness:
    @pytest.mark.parametrize("name", KERAS)
    def test_without_keras_or_h5py(self, tmp_path, name):
        KERAS[name](tmp_path / name)
        code = (
            "import sys; from efficientnet.checkpoints import open_checkpoint\n"
            "[stored.read() for stored in open_checkpoint(sys.argv[1]).arrays.values()]\n"
            "print({'h5py', 'keras', 'tensorflow', 'torch'} & set(sys.modules))"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / name], capture_output=True, text=True, env=environment, check=True
        )
        assert done.stdout.strip() == "set()"

    def test_a_gigabyte_that_is_not_looked_at(self, tmp_path):
        with h5py.File(tmp_path / "net", "w") as file:
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            group = file.create_group("layers/dense/vars")
            space = h5py.h5s.create_simple((2**28,))
            h5py.h5d.create(group.id, b"0", h5py.h5t.IEEE_F32LE, space, properties)
        assert (tmp_path / "net").stat().st_size > 2**30
        tracemalloc.start()
        started = time.process_time()
        stored = keras_h5.read(tmp_path / "net").arrays["dense/0"]
        array = stored.read()
        assert time.process_time() - started < 1
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()
        assert stored.shape == (2**28,) and array[-1] == 0

    def test_threads_and_a_file_that_is_gone(self, tmp_path):
        array = np.random.default_rng(0).normal(size=(300, 300))
        with h5py.File(tmp_path / "net", "w") as file:
            for index in range(8):
                file.create_dataset(f"layers/dense/vars/{index}", data=array + index, compression="gzip")
        arrays = keras_h5.read(tmp_path / "net").arrays
        if os.name == "posix":
            (tmp_path / "net").unlink()
        wrong = []

        def work():
            for index in range(8):
                if not np.array_equal(arrays[f"dense/{index}"].read(), array + index):
                    wrong.append(index)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


class TestCustomClasses:
    """Keras 3 writes the attributes of such a model, a layer once: some beside ``layers``, the others within."""

    def test_attributes_and_layers(self, tmp_path):
        with h5py.File(tmp_path / "net", "w") as file:
            file.create_group("vars").attrs["name"] = "net"
            places = ("vars", "body/layers/conv2d/vars", "dense/vars", "layers/dense/vars", "layers/dense_1/vars")
            for number, place in enumerate((*places, "optimizer/vars", "body/optimizer/vars", "metrics/mean/vars")):
                file[f"{place}/0"] = np.full(2, number)
        found = keras_h5.read(tmp_path / "net")
        assert found.layers == ("net",)
        assert {name: stored.read()[0] for name, stored in found.arrays.items()} == {
            "vars/0": 0, "body/conv2d/0": 1, "dense/0": 2, "layers/dense/0": 3, "dense_1/0": 4,
        }  # fmt: skip

    def test_archive(self, tmp_path):
        keras_custom_class(tmp_path / "net")
        arrays = archive_reader.read(tmp_path / "net").arrays
        expected = {name if name.startswith("dense") else f"body/{name}": array for name, array in BY_NUMBER.items()}
        assert_equal(arrays, expected)
