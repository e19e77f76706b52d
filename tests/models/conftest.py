"""Networks are tried with XLA's own convolution: the smallest program to compile.

That every form of it gives the same numbers is the matter of tests/ops/test_conv.py; the parity
tests of tests/weights use the form that users get.
"""

import pytest


@pytest.fixture(autouse=True)
def native(native_convolutions):
    pass
