"""Every form of the convolution gives the native one's outputs and gradients."""

import concurrent.futures
import functools
import logging
import math
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from darkjax.ops import conv, conv_checked, conv_onednn

SHAPES = [
    # input, kernel (kt, kh, kw, O), strides, padding, groups
    ((2, 5, 9, 8, 3), (1, 7, 7, 6), (1, 2, 2), (0, 3, 3), 1),
    ((2, 5, 9, 8, 3), (3, 7, 7, 6), (1, 2, 2), (3, 3, 3), 1),
    ((2, 6, 7, 8, 12), (3, 1, 1, 5), (1, 1, 1), (1, 0, 0), 1),
    ((2, 5, 7, 8, 20), (3, 1, 1, 5), (2, 1, 1), (1, 0, 0), 1),
    ((2, 4, 7, 8, 9), (1, 3, 3, 5), (1, 2, 2), (0, 1, 1), 1),
    ((2, 4, 7, 7, 9), (3, 3, 3, 5), (1, 1, 1), (1, 1, 1), 1),
    ((2, 5, 7, 8, 9), (3, 3, 3, 5), (2, 2, 2), (1, 1, 1), 1),
    ((2, 5, 7, 7, 9), (1, 1, 1, 5), (2, 2, 2), (0, 0, 0), 1),
    ((1, 2, 5, 5, 8), (3, 3, 3, 4), (2, 2, 2), (1, 1, 1), 1),
    ((1, 1, 4, 4, 8), (5, 1, 1, 4), (1, 1, 1), (2, 0, 0), 1),
    ((2, 1, 5, 5, 8), (3, 3, 3, 16), (1, 1, 1), (1, 1, 1), 4),
    ((1, 3, 5, 6, 160), (1, 3, 3, 160), (1, 2, 2), (0, 1, 1), 32),
    ((2, 4, 6, 5, 7), (3, 3, 3, 7), (1, 2, 1), (1, 1, 1), 7),
]
FORMS = ("pure", "onednn")


@pytest.fixture(autouse=True)
def needs_onednn(request: pytest.FixtureRequest) -> None:
    """Skips what asks for the private call where this jaxlib or processor has none."""
    if "onednn" in request.node.name and (why := conv_onednn.problem()):
        pytest.skip(why)


@pytest.fixture(autouse=True, scope="module")
def cache_is_written_again() -> Iterator[None]:
    """The private call turns writing to the compilation cache off for its process."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    yield
    jax.config.update(name, before)


@pytest.fixture
def cache_folder(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty folder in the place of JAX's cache, where the self-check is remembered."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    jax.config.update("jax_compilation_cache_dir", before)


def everything(form, x, k, strides, pads, groups):
    """Output and both gradients."""

    @jax.jit
    def run(x, k):
        def f(x, k):
            return conv.conv3d(x, k, strides=strides, padding=pads, groups=groups, form=form)

        y, back = jax.vjp(f, x, k)
        dy = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)
        return y, *back(dy)

    return run(x, k)


def arrays(shape, kernel, groups, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    k = rng.standard_normal((*kernel[:3], shape[-1] // groups, kernel[3]))
    return jnp.asarray(rng.standard_normal(shape), dtype), jnp.asarray(k, dtype)


def assert_same(found, expected, bound=1e-5):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        assert np.abs(a - b).max(initial=0) <= bound * max(np.abs(b).max(initial=0), 1.0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("shape", "kernel", "strides", "padding", "groups"), SHAPES)
def test_forms_equal_native(form, shape, kernel, strides, padding, groups):
    x, k = arrays(shape, kernel, groups)
    how = (strides, tuple((p, p) for p in padding), groups)
    assert_same(everything(form, x, k, *how), everything("native", x, k, *how))


@st.composite
def cases(draw):
    sizes = [draw(st.integers(1, n)) for n in (2, 5, 7, 7)]
    taps = [draw(st.integers(1, 4)) for _ in range(3)]
    pads = []
    for size, k in zip(sizes[1:], taps, strict=True):
        before = draw(st.integers(0, k))
        after = draw(st.integers(0, k))
        pads.append((before, after + max(0, k - size - before - after)))
    strides = [draw(st.integers(1, 3)) for _ in range(3)]
    groups = draw(st.integers(1, 4))
    inputs = draw(st.sampled_from([1, 1, 2, 5, 17]))
    outputs = draw(st.sampled_from([1, 1, 3, 8]))
    return (*sizes, groups * inputs), (*taps, groups * outputs), strides, pads, groups


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(case=cases())
def test_forms_equal_native_on_random_shapes(form, case):
    shape, kernel, strides, pads, groups = case
    x, k = arrays(shape, kernel, groups)
    how = (strides, pads, groups)
    assert_same(everything(form, x, k, *how), everything("native", x, k, *how))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("groups", [1, 4])
def test_bfloat16(form, groups):
    x, k = arrays((2, 4, 6, 6, 8), (3, 3, 3, 8), groups, jnp.bfloat16)
    how = ((1, 2, 2), ((1, 1),) * 3, groups)
    exact = everything("native", x.astype(jnp.float32), k.astype(jnp.float32), *how)
    found = everything(form, x, k, *how)
    assert_same(found, [a.astype(jnp.bfloat16) for a in exact], bound=1e-2)


@pytest.mark.parametrize("form", FORMS)
def test_scan_remat_and_vmap(form):
    x, k = arrays((3, 2, 3, 5, 5, 4), (3, 3, 3, 4), 1)
    k /= 10  # as layers have them: larger ones multiply float32's rounding, which is then compared
    pads = ((1, 1),) * 3

    def three_layers(f):
        """A scan over a convolution that is computed again on the way back."""

        def loss(x, k):
            y, _ = jax.lax.scan(lambda y, _: (jnp.tanh(f(y, k)), None), x, None, length=3)
            return y.sum()

        return jax.jit(jax.vmap(jax.grad(loss, (0, 1)), in_axes=(0, None)))

    f = functools.partial(conv.conv3d, padding=pads, form=form)
    found = three_layers(jax.checkpoint(f))(x, k)
    assert_same(found, three_layers(functools.partial(f, form="native"))(x, k))


def test_a_mean_kernel_by_hand():
    x = jnp.arange(2 * 3 * 3, dtype=jnp.float32).reshape(1, 2, 3, 3, 1)
    y = conv.conv3d(x, jnp.ones((2, 3, 3, 1, 1)) / 18)
    np.testing.assert_allclose(y, [[[[[8.5]]]]], rtol=1e-6)


def test_groups_and_unknown_forms():
    x = jnp.ones((1, 2, 4, 4, 4))
    k = jnp.ones((1, 3, 3, 2, 6))
    y = conv.conv3d(x, k, padding=((0, 0), (1, 1), (1, 1)), groups=2)
    assert float(y[0, 0, 1, 1, 0]) == 18  # 9 taps of 2 channels
    with pytest.raises(ValueError, match="form must be one of"):
        conv.conv3d(x, k, form="fast")
    with pytest.raises(ValueError, match="form must be one of"):
        conv.set_form("taps")


@pytest.mark.parametrize("groups", [1, 4])
def test_sharded_over_8_devices(groups):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x, k = arrays((8, 4, 6, 6, 8), (3, 3, 3, 8), groups)
    how = ((1, 2, 2), ((1, 1),) * 3, groups)
    spread = jax.device_put(x, NamedSharding(mesh, P("data")))
    found = everything("auto", spread, jax.device_put(k, NamedSharding(mesh, P())), *how)
    assert found[0].sharding.spec[0] == "data"  # each device made its own clips
    assert_same(found, everything("native", x, k, *how))


def target_in(f, *args):
    return conv_onednn.TARGET in jax.jit(f).lower(*args).as_text()


def test_auto_is_partitionable_under_several_devices():
    x, k = arrays((1, 3, 5, 5, 8), (3, 3, 3, 8), 1)
    assert jax.device_count() == 8
    assert not target_in(conv.conv3d, x, k)


def test_the_form_can_be_forced_onednn():
    x, k = arrays((1, 3, 5, 5, 8), (3, 3, 3, 8), 1)
    with conv.use_form("onednn"):
        assert target_in(lambda x, k: conv.conv3d(x, k), x, k)
    assert not target_in(lambda x, k: conv.conv3d(x, k) + 1, x, k)


def test_a_portable_program_is_pure_on_a_cpu_and_native_elsewhere():
    """For any number of clips, without the private call."""
    x, k = arrays((2, 3, 5, 5, 8), (3, 3, 3, 8), 1)
    whole = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("n"), *x.shape[1:]), x.dtype)
    f = jax.jit(lambda x, k: conv.conv3d(x, k))
    with conv.use_form("portable"):
        made = {p: jax.export.export(f, platforms=p)(whole, k) for p in (("cpu",), ("cuda",))}
        both = jax.export.export(f, platforms=("cpu", "cuda"))(whole, k)
    found = {p[0]: windows_in(e) for p, e in made.items()}
    assert found == {"cpu": {2}, "cuda": {3}} and windows_in(both) == {2, 3}
    assert_same([both.call(x, k)], [conv.conv3d(x, k, form="native")])


def windows_in(exported):
    """Over how many dimensions the windows of its convolutions move."""
    text = exported.mlir_module()
    assert set(re.findall(r"custom_call @([\w$]+)", text)) <= {"shape_assertion"}
    return {len(taps.split(",")) for taps in re.findall(r"dim_numbers = \[b, ([\d, ]+), f\]", text)}


ONE_DEVICE = """
import logging, jax, jax.numpy as jnp
logging.basicConfig(level=logging.INFO)
jax.config.update("jax_compilation_cache_dir", "{cache}")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
from darkjax.ops import conv, conv_checked, conv_onednn
{before}
mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
x = jax.random.normal(jax.random.key(0), (2, 3, 6, 6, 8))
k = jax.random.normal(jax.random.key(1), (3, 3, 3, 8, 8))
def step(k, x, form):
    y = lambda k: conv.conv3d(x, k, padding=((1, 1),) * 3, form=form)
    return k - 0.1 * jax.grad(lambda k: jnp.square(y(k)).mean())(k)
step = jax.jit(step, static_argnums=2, donate_argnums=0)
expected = step(jnp.copy(k), x, "native")
with jax.set_mesh(mesh), jax.transfer_guard("disallow"):
    text = step.lower(k, x, "auto").as_text()
    found = step(k, x, "auto")
print("TARGET", conv_onednn.TARGET in text)
print("ERROR", float(jnp.abs(found - expected).max() / jnp.abs(expected).max()))
p = jax.sharding.PartitionSpec("data")
inside = lambda x, k: conv.conv3d(x, k, form="auto")
mapped = jax.jit(jax.shard_map(inside, mesh=mesh, in_specs=(p, None), out_specs=p))
print("SHARD_MAP", float(jnp.abs(mapped(x, found) - inside(x, found)).max()))
"""


def one_device(cache, before="", **environment):
    env = {k: v for k, v in os.environ.items() if k != "DARKJAX_CONV"}
    env |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", **environment}
    code = ONE_DEVICE.format(before=before, cache=cache)
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        env=env,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    rows = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    assert float(rows["ERROR"]) <= 1e-5
    assert float(rows["SHARD_MAP"]) == 0
    return rows["TARGET"] == "True", run.stderr


def test_one_device_takes_onednn(tmp_path):
    """In a step as the training loop runs it: a mesh, donated weights, no implicit transfers."""
    taken, said = one_device(tmp_path)
    assert taken
    assert said.count("convolutions: onednn form (the self-check passed)") == 1


def test_one_device_falls_back(tmp_path):
    """A target that is not there is an error of the self-check, not of the user."""
    taken, said = one_device(tmp_path, "conv_onednn.TARGET = '__no_such_call'")
    assert not taken
    assert "convolutions: pure form (the oneDNN call raises" in said
    taken, _ = one_device(tmp_path, DARKJAX_CONV="pure")
    assert not taken


def test_wrong_numbers_and_unknown_versions_fall_back(monkeypatch, caplog, cache_folder):
    call = conv_onednn._call
    monkeypatch.setattr(conv_onednn, "_call", lambda *a, **k: call(*a, **k) * 1.001)
    assert "other numbers" in conv_onednn.failure()
    monkeypatch.undo()
    # Of an unknown version a child process tries the call first: here one that ends at once.
    monkeypatch.setattr(conv_onednn, "CHECKED_JAXLIB", ())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert "self-check failed with jaxlib" in conv_onednn.problem.__wrapped__()
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(conv_onednn, "problem", lambda: "no")
    with caplog.at_level(logging.INFO):
        assert conv._platform_form.__wrapped__() == "pure"
    assert "pure form (no)" in caplog.text


@pytest.fixture
def checks(monkeypatch, cache_folder):
    """A self-check of an unknown jaxlib whose child and own part are counted and find nothing."""
    made = []

    def child(*args, **kwargs):
        made.append("child")
        return subprocess.CompletedProcess(args, 0)

    monkeypatch.setattr(conv_onednn, "CHECKED_JAXLIB", ())
    monkeypatch.setattr(subprocess, "run", child)
    monkeypatch.setattr(conv_onednn, "failure", lambda: made.append("check"))
    return made


def remembered(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_the_self_check_is_made_once(checks, cache_folder, monkeypatch):
    """One file in the cache folder; another jaxlib, processor, flag or code of ours checks anew."""
    again = conv_onednn.problem.__wrapped__
    assert [again() for _ in range(3)] == [None] * 3
    assert checks == ["child", "check"]
    (name,) = remembered(cache_folder)
    assert name.startswith("onednn-checked-")
    for change in (
        lambda: monkeypatch.setattr(conv_onednn.jaxlib, "__version__", "99.0"),
        lambda: monkeypatch.setattr(conv_checked, "_processor", lambda: "another"),
        lambda: monkeypatch.setenv("XLA_FLAGS", "--another"),
        lambda: monkeypatch.setattr(conv_checked, "CODE", ("conv_pure.py",)),
    ):
        checks.clear()
        change()
        assert again() is None and again() is None
        assert checks == ["child", "check"]
    assert len(remembered(cache_folder)) == 5


@pytest.mark.parametrize("harm", ["truncated", "empty", "foreign", "folder"])
def test_a_damaged_memory_is_no_memory(harm, checks, cache_folder):
    again = conv_onednn.problem.__wrapped__
    again()
    (name,) = remembered(cache_folder)
    file = cache_folder / name
    whole = file.read_bytes()
    if harm == "folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes({"truncated": whole[:-1], "empty": b"", "foreign": b"\xff\x00"}[harm])
    checks.clear()
    assert again() is None
    assert checks == ["child", "check"]
    assert remembered(cache_folder) == [name]  # nothing half written stays
    assert harm == "folder" or file.read_bytes() == whole


def test_a_failed_check_is_not_remembered(checks, cache_folder, monkeypatch):
    monkeypatch.setattr(conv_onednn, "failure", lambda: "no")
    assert conv_onednn.problem.__wrapped__() == "no"
    assert remembered(cache_folder) == []


@pytest.mark.parametrize("where", ["a file", "no folder", "a bucket", "switched off"])
def test_without_a_folder_the_check_is_made_each_time(where, checks, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    place = {"a file": str(tmp_path / "file" / "below"), "a bucket": "gs://mine", "no folder": None}
    jax.config.update("jax_compilation_cache_dir", place.get(where, str(tmp_path / "off")))
    if where == "switched off":
        monkeypatch.setattr(conv_checked, "_enabled", lambda: False)
    monkeypatch.chdir(tmp_path)
    again = conv_onednn.problem.__wrapped__
    assert again() is None and again() is None
    assert checks == ["child", "check"] * 2
    assert remembered(tmp_path) == ["file"]


def test_many_processes_may_remember_at_once(cache_folder):
    """Each sees nothing or the whole content, whoever writes."""
    seen = []

    def work(_):
        for _ in range(20):
            conv_checked.remember()
            seen.append(conv_checked.passed())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert seen == [True] * 160
    assert len(remembered(cache_folder)) == 1


STORED = """
import pathlib, jax, jax.numpy as jnp
jax.config.update("jax_compilation_cache_dir", "{cache}")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
import tiny_run
from darkjax import methods, optim, sharding, spec, state
from darkjax import config as configs
from darkjax.ops import conv

@jax.jit
def first(x, k):
    return conv.conv3d(x, k, form="onednn")

@jax.jit
def second(x, k):
    return conv.conv3d(x, k, form="onednn") + 1

x, k = jnp.ones((1, 2, 4, 4, 2)), jnp.ones((1, 3, 3, 2, 2))
first(x, k)
c = configs.resolve(tiny_run.config(pathlib.Path("{cache}")))
mesh = sharding.make_mesh((-1, 1))
method = methods.make(c.teacher, spec.bare(c, "teacher", "abc"))
tx = optim.make(c.teacher.optim, 4)
state.create(method, tx, seed=0, ema=False, mesh=mesh)
second(x, k)
"""


def test_initial_parameters_are_stored_also_after_the_private_call_onednn(tmp_path):
    tests = pathlib.Path(__file__).parents[1]
    env = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    env["PYTHONPATH"] = os.pathsep.join(map(str, (tests, tests.parent)))
    code = STORED.format(cache=tmp_path)
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], env=env, check=True)
    stored = {p.name.partition("-")[0] for p in tmp_path.iterdir()}
    assert "jit_init" in stored
    assert not {"jit_first", "jit_second"} & stored


def test_storable_gives_back_what_it_found():
    name = "jax_persistent_cache_min_compile_time_secs"
    jax.config.update(name, 0.25)
    x, k = arrays((1, 3, 5, 5, 8), (3, 3, 3, 8), 1)
    with conv.storable():
        assert getattr(jax.config, name) == 0.25
        assert not target_in(lambda x, k: conv.conv3d(x, k), x, k)
        conv_onednn.stop_storing()  # what the private call does when it is traced
        assert getattr(jax.config, name) == math.inf
    assert getattr(jax.config, name) == math.inf
    with conv.storable():
        assert getattr(jax.config, name) == 0.25
    assert getattr(jax.config, name) == math.inf
