"""Networks are tried with XLA's own convolution: the smallest program to compile.

That every form of it gives the same numbers is the matter of tests/ops/test_conv.py; the parity
tests of tests/weights use the form that users get.
"""

import pytest

from darkjax.ops import conv


@pytest.fixture(autouse=True)
def native_convolutions():
    with conv.use_form("native"):
        yield
