"""Every form of the convolution gives the native one's outputs and gradients."""

import functools
import logging
import os
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

from darkjax.ops import conv, conv_onednn

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


def test_exports_with_native_form():
    f = jax.jit(lambda x, k: conv.conv3d(x, k))
    x, k = arrays((1, 3, 5, 5, 8), (3, 3, 3, 8), 1)
    with conv.use_form("native"):
        exported = jax.export.export(f, platforms=("cpu", "cuda"))(x, k)
    assert exported.platforms == ("cpu", "cuda")


ONE_DEVICE = """
import logging, jax, jax.numpy as jnp
logging.basicConfig(level=logging.INFO)
jax.config.update("jax_compilation_cache_dir", "{cache}")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
from darkjax.ops import conv, conv_onednn
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


def test_wrong_numbers_and_unknown_versions_fall_back(monkeypatch, caplog):
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
