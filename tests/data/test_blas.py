"""Clips are resized on the thread that asks: BLAS would wait for cores that are busy."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "found"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_one_thread_unless_told_otherwise_and_before_numpy_is_there(given, found):
    env = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"} | given
    first = "import sys, darkjax; assert 'numpy' not in sys.modules; import os, numpy; "
    code = first + "print(os.environ['OPENBLAS_NUM_THREADS'])"
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, found), run.stderr
