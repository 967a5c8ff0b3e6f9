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


def test_views_are_seeded_crops():
    image = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    found = eight_bits.prepare([image], SPEC)
    np.testing.assert_array_equal(found.views[0], found.images[0])  # as predictions see it
    assert len({view.tobytes() for view in found.views}) > 90
    assert found.held_out == 0
    large = eight_bits.prepare([image], SPEC._replace(sides=(64, 64)))
    assert len(large.views) == 25


@pytest.mark.parametrize("count", [2, 3])
def test_few_images_are_split_too(count):
    found = eight_bits.prepare(IMAGES[:count], SPEC)
    assert (len(found.images), found.held_out) == (count - 1, 1)


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
        "100.0% of 100 views of 10 images that it was not calibrated on keep their class, whose probability shifts "
        "by 0.000 on average; no layer is kept in float"
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


def test_the_agreement_that_is_asked_for():
    assert least_agreement(None, "int8") == least_agreement(None, "f32") == 0.99
    assert least_agreement(0.9, "int8") == 0.9
    with pytest.raises(ValueError, match=r"agreement=0\.9 is for precision='int8', not for 'f16'"):
        least_agreement(0.9, "f16")
    for value in (1.1, -1, "all", float("nan")):
        with pytest.raises((ValueError, TypeError), match="agreement="):
            least_agreement(value, "int8")
