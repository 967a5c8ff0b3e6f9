"""The batches of a training: the same whenever, and by how many processes, they are made."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from efficientnet import get_variant
from efficientnet.datasets.data import Data, Files, square
from efficientnet.datasets.targets import Classes
from efficientnet.images.bands import joined
from efficientnet.training import FINETUNE, V1, autoaugment, randaugment
from efficientnet.training.batches import Batches, erased, random_crop, shifted, validation_batches
from efficientnet.training.losses import balanced_weights

RECIPE = dataclasses.replace(
    FINETUNE, batch_size=4, head_epochs=0, epoch_steps=0, magnitude=(9, 9), crop=0.3, shift=0.0, mixup=(0.2, 0.2)
)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (14, 20, 20, 3), np.uint8)
    return Data("noise", pixels, Classes(["a", "b", "c"], np.arange(14) % 3), np.arange(10), np.arange(10, 14))


def batches(data, recipe=RECIPE, share=slice(None), **more):
    (stage,) = recipe.plan_stages(get_variant("b0"), 16)
    return Batches(data, recipe, stage, 0, share, **more)


def test_an_epoch_has_every_image_once(data):
    made = batches(data)
    assert made.steps == 2  # of 10 images, 4 at a time
    first, second = ([made.rows(step) for step in epoch] for epoch in ((0, 1), (2, 3)))
    for epoch in (first, second):
        rows = np.concatenate(epoch)
        assert len(set(rows)) == 8
        assert set(rows) <= set(data.training)
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_a_step_has_the_same_batch_wherever_one_begins(data):
    pytest.importorskip("keras")
    whole = list(batches(data).from_step(0, 6))
    assert [batch.pixels.shape for batch in whole] == [(4, 16, 16, 3)] * 6
    for start in (1, 5):
        for later, batch in zip(whole[start:], batches(data).from_step(start, 6), strict=True):
            for old, new in zip(later, batch, strict=True):
                np.testing.assert_array_equal(old, new)
    assert not np.array_equal(whole[0].pixels, whole[2].pixels)
    # Mixed targets still sum to 1.
    np.testing.assert_allclose(whole[0].targets.sum(axis=1), 1, rtol=1e-6)


def test_an_epoch_of_few_images_has_several_passes(data):
    made = batches(data, dataclasses.replace(RECIPE, epoch_steps=5))
    assert made.steps == 5
    passes = [np.concatenate([made.rows(step) for step in steps]) for steps in ((0, 1), (2, 3), (4, 5))]
    assert all(len(set(rows)) == 8 for rows in passes)
    assert len({tuple(rows) for rows in passes}) == 3


def test_a_rectangle_is_erased():
    """By noise, 2 to 33% of the area; the image that was given is unchanged."""
    image = np.full((60, 80, 3), 44, np.uint8)
    shares = []
    for seed in range(40):
        made = erased(image, np.random.default_rng(seed))
        changed = (made != image).any(axis=-1)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        inside = made[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (made[~changed] == 44).all()
        assert changed.sum() > 0.95 * inside[..., 0].size
        assert len(np.unique(inside)) > 20
        shares.append(inside[..., 0].size / image[..., 0].size)
    assert 0.015 < min(shares) < 0.1
    assert 0.2 < max(shares) < 0.35
    assert (image == 44).all()


def test_processes_share_the_same_batches(data):
    pytest.importorskip("keras")
    whole = next(batches(data).from_step(3, 4))
    parts = [next(batches(data, share=slice(start, start + 2)).from_step(3, 4)) for start in (0, 2)]
    for field in whole._fields:
        together = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_array_equal(getattr(whole, field), together)


def test_classes_count_alike():
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2])
    weights = balanced_weights(labels, 3, np.ones(9))
    np.testing.assert_allclose(weights, [9 / 18, 9 / 6, 9 / 3])
    assert weights[labels].sum() == pytest.approx(9)


def test_files_are_read_when_their_turn_comes(tmp_path, capsys):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(6)]
    for path, side in zip(paths, (40, 33, 1, 50, 60, 40), strict=True):
        Image.fromarray(rng.integers(0, 256, (side, side + 7 * (side > 1), 3), np.uint8)).save(path)
    data = Data("files", Files(paths), Classes(["a", "b"], np.arange(6) % 2), np.arange(4), np.arange(4, 6))
    recipe = dataclasses.replace(V1, batch_size=4)
    with ThreadPoolExecutor() as threads:
        assert batches(data, recipe).batch(0, threads).weights.tolist() == [1, 1, 1, 1]  # 1 x 1 pixels, too
        paths[1].write_bytes(paths[1].read_bytes()[:300])  # damaged since
        batch = batches(data, recipe).batch(0, threads)
        broken = batches(data, recipe).rows(0).tolist().index(1)
        assert batch.weights[broken] == 0
        assert batch.weights.sum() == 3
        assert str(paths[1]) in capsys.readouterr().err
        paths[3].unlink()
        with pytest.raises(FileNotFoundError):
            batches(data, recipe).batch(0, threads)
    ((x, rows),) = validation_batches(data, 16, 8)
    assert x.shape == (2, 16, 16, 3)
    assert rows.tolist() == [4, 5]


def test_squares():
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 15:] = 200
    ready = image[:, 10:20]
    assert square(ready, 10, 1.0) is ready
    found = square(image, 8, 0.8).mean(axis=(0, 2))
    assert found.shape == (8,)
    assert found[0] < 10
    assert found[-1] > 190
    image[1:-1, 11:-11] = 100  # the central 8 x 8 pixels
    assert (square(image, 8, 0.8) == 100).all()


def test_crops_stay_within_the_image_and_their_area():
    ramp = np.broadcast_to(np.arange(100, dtype=np.uint8)[None, :, None], (80, 100, 3))
    widths = []
    for seed in range(50):
        crop = random_crop(ramp, 50, 0.25, np.random.default_rng(seed)).astype(float)
        assert crop.shape == (50, 50, 3)
        widths.append((crop.max() - crop.min()) * 50 / 49)
    # From a quarter of the area at the narrow aspect to all of the width.
    assert min(widths) > 0.9 * (0.25 * 8000 * 3 / 4) ** 0.5
    assert max(widths) <= 101
    assert max(widths) - min(widths) > 30


def test_shifts_repeat_the_edge():
    image = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 10, 3), np.uint8)
    moved = {shifted(image, 0.2, np.random.default_rng(seed))[0, 0, 0].item() for seed in range(30)}
    assert moved == {0, 1, 2}
    assert shifted(image, 0.0, np.random.default_rng(0)) is image


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("crop", [0.5, 1.0])
def test_images_of_other_numbers_of_channels(channels, crop):
    pytest.importorskip("keras")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 20, 20, channels), np.uint8)
    data = Data("bands", pixels, Classes(["a", "b"], np.arange(6) % 2), np.arange(4), np.arange(4, 6))
    made = batches(data, dataclasses.replace(RECIPE, crop=crop, batch_size=2))
    assert next(made.from_step(0, 1)).pixels.shape == (2, 16, 16, channels)
    ((images, _),) = validation_batches(data, 16, 2)
    assert images.shape == (2, 16, 16, channels)


class TestRandAugment:
    @pytest.fixture
    def image(self):
        rng = np.random.default_rng(0)
        return Image.fromarray(rng.integers(0, 256, (21, 21, 3), np.uint8))

    @pytest.mark.parametrize("name", randaugment.OPERATIONS)
    def test_every_operation_does_something_and_is_the_same_again(self, image, name):
        changed = np.asarray(randaugment.apply(name, image, 0.5, 1.0))
        assert changed.shape == (21, 21, 3)
        if name != "auto_contrast":  # noise has all levels already
            assert not np.array_equal(changed, np.asarray(image))
        np.testing.assert_array_equal(changed, np.asarray(randaugment.apply(name, image, 0.5, 1.0)))

    def test_signs_and_strengths(self, image):
        pixels = np.asarray(image).astype(int)
        # A strength of 0.224 is a shift by a tenth of 21 pixels: nearly 2.
        moved = np.asarray(randaugment.apply("translate_x", image, 2 / 21 * 2.24, 1.0))
        np.testing.assert_allclose(moved[:, :-2], pixels[:, 2:], atol=1)
        quarter = np.asarray(randaugment.apply("rotate", image, 3.0, 1.0))  # 3 x 30 degrees
        np.testing.assert_allclose(quarter[1:-1, 1:-1], np.rot90(pixels, -1)[1:-1, 1:-1], atol=1)
        dark = np.asarray(randaugment.apply("brightness", image, 1.0, -1.0))
        np.testing.assert_allclose(dark, pixels * 0.1, atol=1)
        np.testing.assert_array_equal(np.asarray(randaugment.apply("posterize", image, 1.0, 1.0)), pixels & 0xF0)
        solarized = np.asarray(randaugment.apply("solarize", image, 0.5, 1.0))
        np.testing.assert_array_equal(solarized, np.where(pixels < 128, pixels, 255 - pixels))

    @pytest.mark.parametrize("name", sorted({*randaugment.OPERATIONS} - {"color", "contrast"}))
    def test_channels_one_by_one_are_changed_like_the_image(self, image, name):
        parts = [randaugment.apply(name, part, 0.5, 1.0) for part in image.split()]
        np.testing.assert_allclose(joined(parts), np.asarray(randaugment.apply(name, image, 0.5, 1.0)), atol=1)

    def test_drawn_by_the_generator(self, image):
        drawn = [joined(randaugment.rand_augment([image], 9, np.random.default_rng(seed))) for seed in (1, 1, 2)]
        np.testing.assert_array_equal(drawn[0], drawn[1])
        assert not np.array_equal(drawn[0], drawn[2])


class TestAutoAugment:
    def test_the_strengths_are_those_of_the_paper(self):
        rng = np.random.default_rng(0)
        assert autoaugment._strength("solarize", 3, rng) == (0.7, 1.0)  # from 77 of 256 on
        assert autoaugment._strength("posterize", 5, rng) == (0.5, 1.0)  # 6 of 8 bits
        assert autoaugment._strength("color", 0, rng) == (1.0, -1.0)  # a tenth of the color
        assert autoaugment._strength("color", 10, rng) == (1.0, 1.0)
        assert {autoaugment._strength("rotate", 9, rng) for _ in range(20)} == {(0.9, 1.0), (0.9, -1.0)}

    def test_pairs_are_drawn_with_their_probabilities(self, monkeypatch):
        applied = []
        monkeypatch.setattr(autoaugment, "apply", lambda name, image, *setting: applied.append(name) or image)
        rng = np.random.default_rng(0)
        for _ in range(5000):
            autoaugment.auto_augment(["image"], rng)
        expected = dict.fromkeys(applied, 0.0)
        for pair in autoaugment.POLICY:
            for name, probability, _ in pair:
                expected[name] = expected.get(name, 0.0) + 200 * probability
        counts = {name: applied.count(name) for name in expected}
        assert counts == pytest.approx(expected, rel=0.2)
        assert set(counts) <= set(randaugment.OPERATIONS)
