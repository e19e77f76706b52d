"""Counts of a thermal camera to 8 bits, by hand."""

import numpy as np
import pytest

from darkjax.data import window
from darkjax.errors import UserError


def test_counts():
    counts = np.array([[[0, 7000, 8000], [9000, 65535, 7500]]], np.uint16)
    grey = window.applied(counts, "7000:9000", "")
    assert grey.shape == (1, 2, 3, 3) and grey.dtype == np.uint8
    assert grey[..., 0].tolist() == [[[0, 0, 128], [255, 255, 64]]]  # 127.5 and 63.75, rounded
    assert (grey == grey[..., :1]).all()


def test_percentiles_are_of_the_whole_clip():
    counts = np.arange(1000, dtype=np.uint16).reshape(2, 10, 50) + 5000
    grey = window.applied(counts, "10%:90%", "")[..., 0].ravel()
    assert grey[:100].max() == 0 and grey[100] == 0 and grey[899] == 255 and grey[896] < 255
    assert (np.diff(grey.astype(int)) >= 0).all()
    whole = window.applied(counts, "0%:100%", "")[..., 0].ravel()
    assert (whole[0], whole[-1]) == (0, 255)


def test_a_clip_of_one_count_is_black():
    counts = np.full((2, 3, 3), 4000, np.uint16)
    assert not window.applied(counts, "1%:99%", "").any()


@pytest.mark.parametrize(
    ("text", "spelt"),
    [("7000:9000", "7000:9000"), (" 1% : 99.50%", "1%:99.5%"), ("0:1e3", "0:1000")],
)
def test_spelling(text, spelt):
    assert str(window.parse(text)) == spelt


@pytest.mark.parametrize(
    "text", ["", "7", "9:7", "7:7", "a:b", "1:2:3", "1%:9", "-1:9", "0%:101%", "nan:9", "1:inf"]
)
def test_refused(text):
    with pytest.raises(UserError, match=r"LOW:HIGH in counts .* found ") as error:
        window.parse(text)
    assert "\n" not in str(error.value)


def test_without_a_window_it_is_asked_for():
    counts = np.array([[[3000, 9123]]], np.uint16)
    with pytest.raises(UserError, match=r"--window=LOW:HIGH .* from 3000 to 9123 in a\.mkv"):
        window.applied(counts, None, "a.mkv")
