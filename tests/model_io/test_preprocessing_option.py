"""The text of --preprocessing."""

import argparse

import pytest

from efficientnet.cli.model_options import preprocessing


@pytest.mark.parametrize(
    "text", ["nan/0.5", "inf/0.5", "127.5/0.5", "-0.1/0.5", "0.5/nan", "0.5/0", "0.5", "0.5,0.5/1", ""]
)
def test_what_is_no_mean_and_standard_deviation_of_levels_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"mean/std of levels 0\.\.1"):
        preprocessing(text)


def test_one_number_is_of_all_channels() -> None:
    assert preprocessing("0.5/0.25") == preprocessing("0.5,0.5,0.5/0.25,0.25,0.25")
