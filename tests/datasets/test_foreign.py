"""Images from other code's data sets."""

import itertools
import sys

import numpy as np
import pytest
from PIL import Image

from efficientnet.datasets.foreign import load_batches, load_tfds, load_tfrecords
from efficientnet.images.pixels import rgb_of_array

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (10, 12, 16, 3), np.uint8)
SQUARES = RNG.integers(0, 256, (10, 8, 8, 3), np.uint8)
LABELS = np.arange(10) % 2


def check(data):
    """All images of ``SQUARES``, in their order, the first 6 to train on."""
    np.testing.assert_array_equal(data.pixels, SQUARES)
    np.testing.assert_array_equal(data.targets.values, LABELS)
    np.testing.assert_array_equal(data.training, np.arange(6))
    np.testing.assert_array_equal(data.validation, np.arange(6, 10))
    assert data.classes == ["0", "1"]
    data.check()


def halves(pixels=SQUARES, labels=LABELS):
    return [(pixels[:4], labels[:4]), (pixels[4:6], labels[4:6])], [(pixels[6:], labels[6:])]


def test_batches_of_every_form():
    check(load_batches("x", *halves(), 8))
    check(load_batches("x", *halves(SQUARES / 255.0), 8))  # floats 0..1
    check(load_batches("x", *halves(SQUARES.transpose(0, 3, 1, 2)), 8))  # channels first
    check(load_batches("x", *halves(labels=np.eye(2)[LABELS]), 8))  # one-hot
    singles = [{"image": image, "label": label} for image, label in zip(SQUARES, LABELS, strict=True)]
    check(load_batches("x", singles[:6], singles[6:], 8))
    assert load_batches("x", [(PIXELS, LABELS)], 0.5, 8).pixels.shape == (10, 8, 8, 3)


def test_the_scale_is_that_of_the_whole_source():
    """A dark image of floating levels 0..255 has none above 1, and alone would be taken for one of 0..1."""
    levels = SQUARES.astype(np.float32)
    levels[[0, 7]] = np.random.default_rng(1).uniform(0, 0.9, levels[0].shape)
    training = [(levels[:1], LABELS[:1]), (levels[1:6], LABELS[1:6])]
    data = load_batches("x", training, [(levels[6:7], LABELS[6:7]), (levels[7:], LABELS[7:])], 8)
    np.testing.assert_array_equal(data.pixels, np.rint(levels))
    singles = load_batches("x", zip(levels / 255, LABELS, strict=True), [(levels[6:], LABELS[6:])], 8)
    np.testing.assert_array_equal(singles.pixels[:10], np.rint(levels))
    deep = load_batches("x", [((levels * 257).astype("u2"), LABELS)], 0.5, 8)
    np.testing.assert_array_equal(deep.pixels[1:7], np.rint(levels)[1:7])


def test_grey_opacity_and_pillow_images():
    expected = [rgb_of_array(image) for image in (SQUARES[0, ..., :1], np.dstack([SQUARES[1], SQUARES[2, ..., :1]]))]
    given = [
        SQUARES[0, ..., :1],
        np.dstack([SQUARES[1], SQUARES[2, ..., :1]]),
        Image.fromarray(SQUARES[3]).convert("L"),
    ]
    data = load_batches("x", zip(given, [0, 1, 0], strict=True), 0.5, 8)
    np.testing.assert_array_equal(data.pixels[:2], expected)
    np.testing.assert_array_equal(data.pixels[2, ..., 0], np.asarray(given[2]))


def test_a_fraction_stays_where_it_is():
    """Images that are added move none to the other side."""
    few = load_batches("x", [(SQUARES[:6], LABELS[:6])], 0.5, 8)
    all_of_them = load_batches("x", [(SQUARES, LABELS)], 0.5, 8)
    assert set(few.validation) == set(all_of_them.validation) & set(range(6))


@pytest.mark.parametrize(
    ("batches", "message"),
    [([], "has no images"), ([SQUARES], "gives ndarray: expected"), ([(PIXELS[..., :2], LABELS)], "of shape"),
     ([{"image": 3}], "gives dict"), ([(PIXELS - 300.0, LABELS)], "look preprocessed"),
     ([(PIXELS.astype("u2"), LABELS)], "up to 255, where white is 65535"), ([3], "gives int: expected"),
     ([(SQUARES, LABELS - 1)], "labels -1"), ([(SQUARES, np.ones((10, 2)))], "not one-hot: expected one class"),
     ([(SQUARES, np.full((10, 2), 0.5))], "not one-hot"), ([(SQUARES, LABELS + 0.5)], "labels such as 0.5, 1.5, 0.5"),
     ([(SQUARES, np.full(10, np.nan))], "labels such as nan"),
     ([(SQUARES, ["cat"] * 10)], "Names have to be numbered"), ([(SQUARES, LABELS[:9])], "10 images with 9"),
     ([(SQUARES, LABELS * 10**9)], "expected 0 to 999999"), ((SQUARES, LABELS), r"a list, \[\(pixels, labels\)\]")],
)  # fmt: skip
def test_what_is_no_images(batches, message):
    with pytest.raises(ValueError, match=message):
        load_batches("x", batches, 0.2, 8)


class Endless:
    """What can be asked for any index, and has a length."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return SQUARES[index % 10], LABELS[index % 10]


def test_a_length_is_the_end():
    """Of PyTorch's data sets, and of what Keras 2 trains on, which iterates without an end."""
    expected = load_batches("x", [(SQUARES, LABELS)], 0.5, 8)
    endless = type("Iterator", (Endless,), {"on_epoch_end": print, "__iter__": lambda self: itertools.cycle([self[0]])})
    for source in (Endless(), endless()):
        np.testing.assert_array_equal(load_batches("x", source, 0.5, 8).pixels, expected.pixels)


def test_what_has_no_end_is_refused():
    keras, tf = pytest.importorskip("keras"), pytest.importorskip("tensorflow")
    repeated = tf.data.Dataset.from_tensor_slices((SQUARES, LABELS)).batch(4).repeat()
    without_length = type("Images", (keras.utils.PyDataset,), {"num_batches": None, "__getitem__": Endless.__getitem__})
    for endless in (repeated, without_length()):
        for training, validation in ((endless, 0.5), ([(SQUARES, LABELS)], endless)):
            with pytest.raises(ValueError, match="has no end"):
                load_batches("x", training, validation, 8)
    assert len(load_batches("x", repeated.take(2), 0.5, 8).pixels) == 8


def test_weights_are_left_out_with_a_word(capsys):
    load_batches("x", [(SQUARES, LABELS, np.ones(10))] * 2, 0.5, 8)
    assert capsys.readouterr().err.count("x gives more than pixels and labels, such as weights: left out") == 1


def test_more_labels_than_names():
    with pytest.raises(ValueError, match="labels 0 to 1: expected 0 to 0, since there are 1 class names"):
        load_batches("x", [(SQUARES, LABELS)], 0.2, 8, ["only"])


def test_a_pytorch_loader():
    torch = pytest.importorskip("torch")
    tensors = torch.tensor(SQUARES.transpose(0, 3, 1, 2) / 255.0, dtype=torch.float32), torch.tensor(LABELS)
    sides = [torch.utils.data.TensorDataset(*(t[part] for t in tensors)) for part in (slice(6), slice(6, 10))]
    check(load_batches("x", *(torch.utils.data.DataLoader(side, batch_size=4) for side in sides), 8))


def test_a_keras_dataset():
    keras = pytest.importorskip("keras")

    class Images(keras.utils.PyDataset):
        def __init__(self, parts):
            super().__init__()
            self.parts = parts

        def __len__(self):
            return len(self.parts)

        def __getitem__(self, index):
            return self.parts[index]

    check(load_batches("x", *map(Images, halves()), 8))


def test_tensorflow_data():
    tf = pytest.importorskip("tensorflow")
    sides = [tf.data.Dataset.from_tensor_slices((SQUARES[part], LABELS[part])) for part in (slice(6), slice(6, 10))]
    check(load_batches("x", sides[0].batch(4), sides[1], 8))


def test_tfrecords(tmp_path, capsys):
    tf = pytest.importorskip("tensorflow")

    def example(content, label):
        features = {
            "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content])),
            "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            "image/class/text": tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[b"odd" if label % 2 else b"even"])
            ),
        }
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    image = tmp_path / "image.png"
    with tf.io.TFRecordWriter(str(tmp_path / "train-0.tfrecord")) as writer:
        for pixels, label in zip(SQUARES, LABELS, strict=True):
            Image.fromarray(pixels).save(image)
            writer.write(example(image.read_bytes(), int(label) + 1))
        writer.write(example(image.read_bytes()[:60], 1))
    data = load_tfrecords(str(tmp_path / "train-*.tfrecord"), 0.4, 8, crop=1.0)
    np.testing.assert_array_equal(data.pixels, SQUARES)
    assert data.classes == ["odd", "even"]  # there is no label 0
    np.testing.assert_array_equal(data.targets.values, LABELS)
    assert "skipped image 10" in capsys.readouterr().err

    with pytest.raises(FileNotFoundError, match="No file matches"):
        load_tfrecords(str(tmp_path / "test-*"), 0.4, 8)
    (tmp_path / "bad.tfrecord").write_bytes(b"no record of anything" * 9)
    with pytest.raises(ValueError, match="cannot be read as TFRecord"):
        load_tfrecords(str(tmp_path / "bad.tfrecord"), 0.4, 8)
    with tf.io.TFRecordWriter(str(tmp_path / "other.tfrecord")) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(ValueError, match="holds nothing: expected image/encoded"):
        load_tfrecords(str(tmp_path / "other.tfrecord"), 0.4, 8)


def test_tfrecords_of_other_forms(tmp_path):
    tf = pytest.importorskip("tensorflow")

    def load(*records):
        with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
            for record in records:
                writer.write(record)
        return load_tfrecords(str(tmp_path / "x.tfrecord"), 0.4, 8)

    def example(label, labels=1):
        Image.fromarray(SQUARES[label]).save(tmp_path / "image.png")
        lists = {
            "image/encoded": tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[(tmp_path / "image.png").read_bytes()])
            ),
            "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label] * labels)),
            "image/class/text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"crane" if label else b"\xff"])),
        }
        return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()

    assert load(example(0), example(1), example(2)).classes == ["\ufffd", "crane (1)", "crane (2)"]
    for labels in (0, 2):
        with pytest.raises(ValueError, match=f"record 1 of .*: 1 image/encoded, {labels} image/class/label; expected"):
            load(example(0), example(1, labels))
    with pytest.raises(ValueError, match=r"record 0 of .* is not a tf\.train\.Example"):
        load(b"\xff\xff")


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
        load_tfds("mnist", 0.2, 8)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match="read by TensorFlow"):
        load_tfrecords("*.tfrecord", 0.2, 8)
