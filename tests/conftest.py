"""What every test runs under: 8 fake CPU devices, strict dtypes, warnings as errors."""

import contextlib
import gc
import importlib.metadata
import os
import pathlib
import signal
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA's own convolution is the smallest program, and one that JAX can store: what one test (or a
# process that it starts) compiled, the others take. The other forms have tests of their own.
os.environ.setdefault("DARKJAX_CONV", "native")
# Most of a test is compiling a program that runs for milliseconds. Of the flags below the first is
# a quarter of the time, the second, one part of a program after another instead of 32 at once, an
# eighth; a jaxlib that does not know them ends the process, so they are given to those that do.
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_backend_optimization_level=0"]
    + ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
    * importlib.metadata.version("jaxlib").startswith("0.10.")
)

import benches
import flax.linen as nn
import jax
import jaxtyping
import pytest

# A shell that starts tests in the background has them ignore Ctrl-C, and what they start inherits
# that; a signal with a handler is given its default in a new program.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _compiled(function: Any) -> Any:
    """`Module.init` or `apply` as one program: operation by operation, JAX compiles each of them,
    which takes three times as long."""

    def call(module: nn.Module, first: Any, *args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((first, args))
        traced = any(isinstance(x, jax.core.Tracer) for x in (*leaves, *jax.tree.leaves(kwargs)))
        if traced or not all(hasattr(x, "dtype") for x in leaves):
            return function(module, first, *args, **kwargs)
        return jax.jit(lambda first, args: function(module, first, *args, **kwargs))(first, args)

    return call


@contextlib.contextmanager
def _raises(expected: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
    """`pytest.raises` of what a function itself says to bad input: the check of annotations, which
    every other call passes (docs/testing.md), would speak first."""
    jaxtyping.config.update("jaxtyping_disable", expected is not jaxtyping.TypeCheckError)
    try:
        with RAISES(expected, *args, **kwargs) as found:
            yield found
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


RAISES, pytest.raises = pytest.raises, _raises
nn.Module.init = _compiled(nn.Module.init)
nn.Module.apply = _compiled(nn.Module.apply)


def pytest_collection_finish() -> None:
    """What is imported by now stays: Python need not look for garbage in it again and again, nor in
    what tracing makes, millions of objects of which few are cycles, as often as it does by itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_kept() -> Iterator[None]:
    """Compiled programs are let go after each file: otherwise they grow to gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True, scope="session")
def _few_clips_are_drawn_here() -> None:
    """Two processes start in five times as long as the clips of a test take to draw. Programs that
    tests start, and the tests of the conversion, have theirs."""
    from darkjax import run_data

    run_data.WORKERS = 0


@pytest.fixture(scope="module")
def one_device() -> Iterator[None]:
    """Whole runs use one of the 8 devices, for files that are not about devices: the same program
    for 8 takes longer to compile and each of its steps starts 8 times."""
    from darkjax import sharding

    every = sharding.make_mesh

    def one(shape: Any, devices: Any = None) -> Any:
        return every(shape, devices) if devices else every((1, 1), jax.devices()[:1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "make_mesh", one)
        yield


@pytest.fixture(scope="module")
def one_program() -> Iterator[None]:
    """A training that is taken up again, or done once more, has the step that was compiled: for
    files that compare trainings of the same stage on the same devices."""
    from darkjax import train

    make, made = train.make_update, {}

    def kept(
        method: Any, tx: Any, stage: Any, seed: int, total_steps: int, mesh: Any, shardings: Any
    ) -> Any:
        # All that the step is made of: `tx` and `method` are of the stage, the classes and batches.
        of = (stage.to_json_best_effort(), seed, total_steps, mesh, repr(method.spec))
        key = (*of, repr(jax.tree.leaves(shardings)), jax.tree.structure(shardings))
        if key not in made:
            made[key] = make(method, tx, stage, seed, total_steps, mesh, shardings)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "make_update", kept)
        yield


@pytest.fixture
def shared() -> pathlib.Path:
    """The folder of real clips and golden outputs beside the project, or a skip."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED}: the real clips and golden outputs are not on this machine")
    return SHARED


@pytest.fixture
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """`benchmarks/NAME.py` in tests/test_NAME_benchmark.py, anew for each test."""
    name = request.module.__name__.removeprefix("test_").removesuffix("_benchmark")
    return benches.load(name, monkeypatch)


@pytest.fixture
def printed(
    bench: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """A function from a benchmark's flags to the lines that it prints."""

    def lines(*flags: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", [bench.__file__, *flags])
        bench.main()
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the records of `tiny_run.config` are kept between tests."""
    return tmp_path_factory.mktemp("tiny")
