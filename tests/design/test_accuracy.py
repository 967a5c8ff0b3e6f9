"""The accuracy that is expected at a cost, against the published networks."""

import pytest

from efficientnet.design.accuracy import expected_top1, published_points


def test_nine_in_ten_published_networks_are_within_the_interval():
    points = published_points()
    expected = [expected_top1(macs) for macs, _ in points]
    inside = [one.low <= top1 <= one.high for one, (_, top1) in zip(expected, points, strict=True)]
    assert len(points) > 100
    assert 0.85 < sum(inside) / len(inside) < 0.95


def test_more_cost_is_expected_to_give_more_accuracy():
    expected = [expected_top1(macs) for macs in (24e6, 100e6, 400e6, 1.6e9, 6.4e9, 25e9, 60e9)]
    assert [one.top1 for one in expected] == sorted(one.top1 for one in expected)
    assert 0.70 < expected[1].top1 < 0.73
    assert not any(one.is_extrapolated for one in expected)


@pytest.mark.parametrize(("macs", "inner"), [(2e6, 24e6), (5e12, 60e9)])
def test_beyond_the_published_networks_the_interval_widens(macs, inner):
    outer, inner = expected_top1(macs), expected_top1(inner)
    assert outer.is_extrapolated
    assert outer.high - outer.low > inner.high - inner.low


@pytest.mark.parametrize("macs", [1e-300, 1e3, 1e300])
def test_no_accuracy_is_below_0(macs):
    expected = expected_top1(macs)
    assert expected.low == expected.top1 == 0
    assert 0 <= expected.high <= 1


def test_a_cost_that_is_none():
    with pytest.raises(ValueError, match="macs=0: expected a finite number greater than 0"):
        expected_top1(0)
