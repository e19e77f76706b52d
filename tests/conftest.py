"""What every test runs under: 8 fake CPU devices, strict dtypes, warnings as errors."""

import os
import pathlib
from collections.abc import Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of a test is compiling a program that runs for milliseconds.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture
def shared() -> pathlib.Path:
    """The folder of real clips and golden outputs beside the project, or a skip."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED}: the real clips and golden outputs are not on this machine")
    return SHARED


@pytest.fixture(scope="module")
def native_convolutions() -> Iterator[None]:
    """XLA's own convolution, the smallest program to compile, for the tests of a file."""
    from darkjax.ops import conv

    with conv.use_form("native"):
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the records of `tiny_run.config` are kept between tests."""
    return tmp_path_factory.mktemp("tiny")
