"""Models in 8 bits: on what they are measured, what stays in float, and when they are refused."""

import numpy as np
import pytest

from efficientnet.images.pixel_scaling import numbers_for
from efficientnet.inference import eight_bits
from efficientnet.inference.fidelity import Fidelity, least_agreement
from efficientnet.model_io.spec import InputSpec

SPEC = InputSpec("mine", (32, 32), 3, True, numbers_for("tf", 3), activation="softmax", outputs=4)
RNG = np.random.default_rng(0)
IMAGES = [np.full((40, 50, 3), level, np.uint8) for level in range(0, 240, 12)]


@pytest.fixture(autouse=True)
def few_views(monkeypatch):
    """A tenth of the views, for speed."""
    monkeypatch.setattr(eight_bits, "_MOST_VIEWS", 100)
    monkeypatch.setattr(eight_bits, "_LEAST_VIEWS", 10)
    monkeypatch.setattr(eight_bits, "_VIEW_SIDE", 32)


def test_what_is_measured_on_is_not_calibrated_on():
    found = eight_bits.prepare(iter(IMAGES), SPEC)
    again = eight_bits.prepare(IMAGES, SPEC)
    assert found.held_out == 10
    assert (found.images.shape, found.views.shape) == ((10, 32, 32, 3), (100, 32, 32, 3))
    calibrated, seen = ({*images[:, 0, 0, 0].tolist()} for images in (found.images, found.views))
    assert len(calibrated) == len(seen) == 10
    assert not calibrated & seen
    np.testing.assert_array_equal(found.views, again.views)


@pytest.mark.parametrize(("count", "held_out"), [(14, 7), (20, 10), (40, 10)])
def test_all_held_out_images_are_measured_on(count, held_out):
    """There are ten views, which are not as many for each image."""
    images = [np.full((40, 50, 3), 6 * index, np.uint8) for index in range(count)]
    found = eight_bits.prepare(images, SPEC._replace(sides=(320, 320)))
    assert (len(found.views), found.held_out, len(found.images)) == (10, held_out, count - held_out)
    assert len({*found.views[:, 0, 0, 0].tolist()}) == held_out


def test_views_are_seeded_crops():
    image = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    found = eight_bits.prepare([image], SPEC)
    np.testing.assert_array_equal(found.views[0], found.images[0])  # as predictions see it
    assert len({view.tobytes() for view in found.views}) > 90
    assert found.held_out == 0
    large = eight_bits.prepare([image], SPEC._replace(sides=(64, 64)))
    assert len(large.views) == 25


@pytest.mark.parametrize("channels_last", [True, False])
def test_views_for_a_model_of_images_that_are_not_square(channels_last):
    spec = SPEC._replace(sides=(32, 48), channels_last=channels_last)
    images = [np.full((32, 48, 3), level, np.uint8) for level in range(0, 200, 10)]
    images += [RNG.integers(0, 256, (32, 48, 3), dtype=np.uint8) for _ in range(2)]
    found = eight_bits.prepare(images, spec)
    assert found.views.shape == ((66, 32, 48, 3) if channels_last else (66, 3, 32, 48))
    assert len({view.tobytes() for view in found.views}) > 11
    for image in images[:20]:  # of one level
        seen = (found.views == image[0, 0, 0]).all(axis=(1, 2, 3)).any()
        assert seen != (found.images == image[0, 0, 0]).all(axis=(1, 2, 3)).any()
    with pytest.raises(ValueError, match="Pass arrays of the model's shape"):
        eight_bits.prepare([np.zeros((40, 50, 3), np.uint8)] * 3, spec)


@pytest.mark.parametrize("count", [2, 3])
def test_few_images_are_split_too(count):
    found = eight_bits.prepare([RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(count)], SPEC)
    assert (len(found.images), found.held_out) == (count - 1, 1)


@pytest.mark.parametrize("count", [1, 4])
def test_images_of_one_color_are_refused(count):
    """A network in 8 bits that was calibrated on black images predicts these alone as in float."""
    with pytest.raises(ValueError, match="int8 is refused, since all views of the calibration images are alike"):
        eight_bits.prepare([np.zeros((40, 50, 3), np.uint8)] * count, SPEC)
    assert eight_bits.prepare([np.zeros((40, 50, 3), np.uint8), *IMAGES[1:4]], SPEC).held_out == 2


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="pass calibration="):
        eight_bits.prepare([], SPEC)


def softmax_of(logits):
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def exact(pixels):
    """The class of an image is a matter of its level."""
    levels = pixels.mean(axis=(1, 2, 3))[:, np.newaxis]
    return [softmax_of(-np.abs(levels / 60 - np.arange(4)) * 4)]


def wrong(pixels):
    return [np.roll(exact(pixels)[0], 1, axis=-1)]


@pytest.fixture
def calibration():
    return eight_bits.prepare(IMAGES, SPEC)


@pytest.fixture
def ranked(monkeypatch):
    order = ["sensitive", *"abcdefg"]
    monkeypatch.setattr(eight_bits, "by_sensitivity", lambda model, inputs: order)
    return order


def search(calibration, quantized, agreement=0.99):
    return eight_bits.search(calibration, SPEC, exact, quantized, None, agreement)


def test_nothing_stays_in_float_without_need(calibration, monkeypatch):
    monkeypatch.setattr(eight_bits, "by_sensitivity", lambda model, inputs: pytest.fail("not needed"))
    found = search(calibration, lambda floating: exact)
    assert found == Fidelity(0.0, 1.0, 0.0, 100, 10)
    assert str(found) == (
        "100.0% of 100 views of 10 images that it was not calibrated on keep their prediction, whose probability "
        "shifts by 0.000 on average; no layer is kept in float"
    )


def test_the_sensitive_layer_stays_in_float(calibration, ranked):
    tried = []

    def quantized(floating):
        tried.append(floating)
        return exact if "sensitive" in floating else wrong

    found = search(calibration, quantized)
    assert tried == [(), ("sensitive",)]
    assert (found.floating, found.layers) == (("sensitive",), 8)
    assert str(found).endswith("1 of 8 layers are kept in float: sensitive")


@pytest.mark.parametrize("run", [wrong, lambda pixels: [exact(pixels)[0] * np.nan]])
def test_what_half_of_the_layers_do_not_mend_is_refused(calibration, ranked, run):
    tried = []
    with pytest.raises(ValueError, match=r"int8 is refused\. At best, ") as refused:
        search(calibration, lambda floating: tried.append(len(floating)) or run)
    assert tried == [0, 1, 2, 4]
    message = str(refused.value)
    assert "\n" not in message
    assert "4 of 8 layers are kept in float: sensitive, a, b, c" in message
    assert "(--agreement)" in message
    if run is wrong:
        assert "Asked for is 99.0%, and a shift of at most 0.020." in message
        assert search(calibration, lambda floating: run, agreement=0.0).agreement < 0.1


def test_probabilities_may_shift_by_twice_the_rest(calibration, ranked):
    def flatter(pixels):
        return [0.95 * exact(pixels)[0] + 0.0125]

    found = search(calibration, lambda floating: flatter, agreement=0.95)
    assert (found.agreement, found.floating) == (1, ())
    assert 0.02 < found.shift < 0.1
    with pytest.raises(ValueError, match=r"100\.0% of 100 views"):
        search(calibration, lambda floating: flatter)


NUMBERS = SPEC._replace(activation="linear", outputs=2, targets="values")
LABELS = SPEC._replace(activation="sigmoid", outputs=3, thresholds=(0.5, 0.2, 0.5))


def values(pixels):
    """Two numbers of very different size, of the level of an image."""
    levels = pixels.mean(axis=(1, 2, 3)) / 255
    return [np.stack([100 * levels, 1e-3 * levels], axis=-1)]


@pytest.mark.parametrize("spec", [NUMBERS, NUMBERS._replace(outputs=0, targets="")])
def test_numbers_keep_their_variance(calibration, ranked, spec):
    run = values if spec.outputs else lambda pixels: np.split(values(pixels)[0], 2, axis=-1)

    def search(quantized, agreement=0.99):
        return eight_bits.search(calibration, spec, run, quantized, None, agreement)

    found = search(lambda floating: run)
    assert (found.agreement, found.shift, found.kept) == (None, None, 1)
    assert "the outputs for 100 views of 10 images that it was not calibrated on keep 100.0% of their vari" in str(
        found
    )
    (small,) = values(calibration.views)[0][:, 1:].std(axis=0)

    def off(share):
        """The small number is wrong by a share of its spread, far below that of the large one."""
        wrong = np.array([0, share * small])
        parts = [wrong] if spec.outputs else [0, wrong[1:]]
        return lambda pixels: [output + part for output, part in zip(run(pixels), parts, strict=True)]

    assert 0.99 < search(lambda floating: off(0.05)).kept < 1
    with pytest.raises(ValueError, match=r"keep .*% of their variance, .*Asked for is 99\.0% of the variance"):
        search(lambda floating: off(0.5))
    with pytest.raises(ValueError, match="keep 50.0%" if spec.outputs else "keep 0.0%"):
        search(lambda floating: off(2))
    assert search(lambda floating: off(2), agreement=0.0).floating == ()


def test_features_that_hardly_vary_count_little(calibration):
    spec = SPEC._replace(activation="relu", outputs=2)
    noisy = [values(calibration.views)[0] + np.array([0, 1e-3])]
    found = eight_bits._measured(noisy, values(calibration.views), spec, 10)
    assert found.kept > 0.999
    alike = [np.full((4, 3), 7.0)]
    assert eight_bits._measured(alike, alike, spec, 10).kept == 1
    assert eight_bits._measured([alike[0] * 1.1], alike, spec, 10).kept == 0


def test_views_keep_all_their_labels(calibration, ranked):
    """The best label is the same, and another one is not."""

    def labels(pixels, second=0.3):
        return [np.tile(np.array([[0.9, second, 0.1]]), (len(pixels), 1))]

    def search(second):
        return eight_bits.search(calibration, LABELS, labels, lambda floating: lambda x: labels(x, second), None, 0.99)

    assert search(0.25).agreement == 1
    with pytest.raises(ValueError, match=r"At best, 0\.0% of 100 views .* keep their prediction"):
        search(0.19)


def test_the_agreement_that_is_asked_for():
    assert least_agreement(None, "int8") == least_agreement(None, "f32") == 0.99
    assert least_agreement(0.9, "int8") == 0.9
    with pytest.raises(ValueError, match=r"agreement=0\.9 is for precision='int8', not for 'f16'"):
        least_agreement(0.9, "f16")
    for value in (1.1, -1, "all", float("nan")):
        with pytest.raises((ValueError, TypeError), match="agreement="):
            least_agreement(value, "int8")
