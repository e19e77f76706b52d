"""Convolutions by the oneDNN call inside XLA's CPU backend.

jaxlib registers the custom call `__onednn$convolution` on the CPU. It is private: it may change or
vanish with any jaxlib, so `problem` tries it on a tiny array before anyone relies on it. The call
knows only the forward convolution; everything here is made of it:

- the input's gradient: convolutions of the cotangent with the flipped kernel (`conv_gradient`);
- the kernel's gradient: a convolution whose kernel is the cotangent, see `_kernel_gradient`;
  depthwise: products and sums instead, see `_depthwise_kernel_gradient`.

Reverse mode only, once. Under `vmap` the call runs once for each element.

A program that holds the call cannot be stored: XLA mistakes it for another kind of call when it
serialises an executable (jaxlib 0.10.2: std::bad_alloc, undefined behaviour by its source). So from
the first call on, this process writes nothing to JAX's persistent compilation cache; it still
reads. Programs that are known not to hold the call are still written: `ops.conv.storable`.
"""

from __future__ import annotations

import functools
import json
import math
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax import Array, lax

from darkjax.ops import conv_checked, conv_gradient, conv_pure

Pads = Sequence[tuple[int, int]]
TARGET = "__onednn$convolution"
# A configuration that the call does not understand ends the process instead of raising. With
# other versions than these the self-check therefore runs in a child process, at some 2 seconds.
CHECKED_JAXLIB = ("0.10.2",)
THRESHOLD = "jax_persistent_cache_min_compile_time_secs"
_threshold: float | None = None  # its value before the first call


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv3d(x: Array, kernel: Array, strides: tuple, padding: tuple, groups: int) -> Array:
    """The convolution of `ops.conv.conv3d`, float32 or bfloat16."""
    x, kernel, dtype = _computable(x, kernel)
    kernel, _, padding = _reached(x.shape, kernel, strides, padding)
    return _call(x, kernel, strides, padding, groups=groups).astype(dtype)


def _forward(x: Array, kernel: Array, *how: object) -> tuple[Array, tuple[Array, Array]]:
    return conv3d(x, kernel, *how), (x, kernel)


def _backward(strides: tuple, padding: tuple, groups: int, saved: tuple, dy: Array) -> tuple:
    x, kernel, dtype = _computable(*saved)
    dy = dy.astype(x.dtype)
    kernel, missing, padding = _reached(x.shape, kernel, strides, padding)

    def convolve(dy: Array, kernel: Array, pads: Pads) -> Array:
        if groups == 1:  # inputs and outputs change places by name: nothing is moved
            return _call(dy, kernel, (1, 1, 1), pads, swap=True)
        *taps, inputs, outputs = kernel.shape
        kernel = kernel.reshape(*taps, inputs, groups, outputs // groups)
        kernel = jnp.transpose(kernel, (0, 1, 2, 5, 4, 3))
        kernel = kernel.reshape(*taps, outputs // groups, groups * inputs)
        return _call(dy, kernel, (1, 1, 1), pads, groups=groups)

    dx = conv_gradient.input_gradient(convolve, dy, kernel, x.shape, strides, padding)
    depthwise = groups == x.shape[-1] == dy.shape[-1]
    gradient = _depthwise_kernel_gradient if depthwise else _kernel_gradient
    dk = gradient(x, dy, kernel.shape[:3], strides, padding, groups)
    dk = jnp.pad(dk, (*missing, (0, 0), (0, 0)))
    return dx.astype(dtype), dk.astype(dtype)


conv3d.defvjp(_forward, _backward)


def _kernel_gradient(
    x: Array, dy: Array, taps: Sequence[int], strides: Sequence[int], padding: Pads, groups: int
) -> Array:
    """`dk[a, b, c, i, o]`, the sum over B, t, h, w of `x[B, t+a, h+b, w+c, i] dy[B, t, h, w, o]`.

    As a convolution: the cotangent is a kernel over (t, h) whose channels are the pairs (B, w),
    and slides over the time and height of x by the taps a and b. The taps c and the channels i
    are one further axis, along which nothing slides: many rows, so that oneDNN has full tiles.
    """
    (kt, kh, kw), (b, t, h, w, outputs) = taps, dy.shape
    frames, rows, inputs = x.shape[1], x.shape[2], x.shape[-1] // groups
    x = x.reshape(*x.shape[:4], groups, inputs)
    x = jnp.transpose(x, (1, 2, 5, 4, 0, 3))  # T H I G B W
    x = jnp.pad(x, ((0, 0),) * 5 + (padding[2],))
    span = (w - 1) * strides[2] + 1
    x = jnp.concatenate([x[..., c : c + span : strides[2]] for c in range(kw)], axis=2)
    x = x.reshape(1, frames, rows, kw * inputs, groups * b * w)
    dy = jnp.transpose(dy, (1, 2, 0, 3, 4)).reshape(t, h, 1, b * w, outputs)
    pads = []
    for axis, (size, count, k) in enumerate(((frames, t, kt), (rows, h, kh))):
        before = padding[axis][0]
        after = (k - 1) + (count - 1) * strides[axis] + 1 - size - before
        if after < 0:  # the stride leaves the last ones out
            x = lax.slice_in_dim(x, 0, size + after, axis=1 + axis)
        pads.append((before, max(after, 0)))
    dilation = (strides[0], strides[1], 1)
    dk = _call(x, dy, (1, 1, 1), (*pads, (0, 0)), dilation=dilation, groups=groups)
    return dk.reshape(kt, kh, kw, inputs, outputs)


def _depthwise_kernel_gradient(
    x: Array, dy: Array, taps: tuple, strides: tuple, padding: Pads, groups: int
) -> Array:
    """The same where each channel is its own group: products and sums, no convolution.

    A loop over clips (frames, where time is not convolved) keeps what all taps read in the cache:
    twice as fast as all at once, six times as oneDNN.
    """
    if taps[0] == strides[0] == 1 and padding[0] == (0, 0):
        x, dy = (a.reshape(-1, 1, *a.shape[2:]) for a in (x, dy))
    x = x.astype(jnp.float32)
    dy = dy.astype(jnp.float32)

    def add(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        one, other = (a[None] for a in pair)
        return total + conv_pure.kernel_gradient(one, other, taps, strides, padding, groups), None

    zero = jnp.zeros((*taps, 1, groups), jnp.float32)
    return lax.scan(add, zero, (x, dy))[0]


def _reached(
    shape: Sequence[int], kernel: Array, strides: Sequence[int], padding: Pads
) -> tuple[Array, list[tuple[int, int]], tuple[tuple[int, int], ...]]:
    """The kernel without the outer taps that only ever see padding, and what was cut off.

    The last stages of 3-D networks see one frame: two thirds of their kernels are never used.
    Returns the kernel, the taps cut `(before, after)` for each axis, and the padding left.
    """
    cut = []
    for axis, (before, after) in enumerate(padding):
        size, k, s = shape[1 + axis], kernel.shape[axis], strides[axis]
        last = (size + before + after - k) // s * s - before  # where the last window starts
        # Tap a sees inputs from a - before to a + last.
        first, end = max(0, -last), min(k, size + before)
        cut.append((first, k - end) if first < end else (0, 0))
    kernel = kernel[tuple(slice(a, k - b) for (a, b), k in zip(cut, kernel.shape, strict=False))]
    pads = tuple((p[0] - c[0], p[1] - c[1]) for p, c in zip(padding, cut, strict=True))
    return kernel, cut, pads


def _call(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: Pads,
    *,
    dilation: Sequence[int] = (1, 1, 1),
    groups: int = 1,
    swap: bool = False,
) -> Array:
    """oneDNN's convolution; `swap` reads the kernel as `[..., outputs, inputs]`."""
    kin, kout = (4, 3) if swap else (3, 4)
    data = {"batch_dim": "0", "feature_dim": "4", "spatial_dims": ["1", "2", "3"]}
    config = {
        "dims": "5",
        "input": {"data": data},
        "output": {"data": data},
        "kernel": {
            "filter": {
                "input_feature_dim": str(kin),
                "output_feature_dim": str(kout),
                "spatial_dims": ["0", "1", "2"],
                "shape": [str(n) for n in kernel.shape],
            }
        },
        "window": {
            "size": [str(n) for n in kernel.shape[:3]],
            "pad_left": [str(before) for before, _ in padding],
            "pad_right": [str(after) for _, after in padding],
            "strides": [str(s) for s in strides],
            "window_dilations": [str(d) for d in dilation],
        },
        "feature_groups": str(groups),
    }
    sizes = [
        (x.shape[1 + i] + sum(padding[i]) - (kernel.shape[i] - 1) * dilation[i] - 1) // strides[i]
        + 1
        for i in range(3)
    ]
    result = jax.ShapeDtypeStruct((x.shape[0], *sizes, kernel.shape[kout]), x.dtype)
    if 0 in result.shape or 0 in x.shape:
        return jnp.zeros(result.shape, result.dtype)
    stop_storing()
    call = jax.ffi.ffi_call(
        TARGET,
        result,
        vmap_method="sequential",
        custom_call_api_version=2,
        legacy_backend_config=json.dumps({"onednn_conv_config": config}),
    )
    return call(x, kernel)


def stop_storing() -> None:
    """Write no more programs to the compilation cache: the next may hold the call."""
    global _threshold
    found = getattr(jax.config, THRESHOLD)
    if found != math.inf:
        _threshold = found
        jax.config.update(THRESHOLD, math.inf)


def store_again() -> None:
    """Write programs again, from as many seconds of compiling on as before `stop_storing`."""
    if getattr(jax.config, THRESHOLD) == math.inf and _threshold is not None:
        jax.config.update(THRESHOLD, _threshold)


def _computable(x: Array, kernel: Array) -> tuple[Array, Array, jnp.dtype]:
    """The arrays in a dtype that oneDNN has on this processor, and the dtype they came in."""
    dtype = x.dtype
    if dtype == jnp.float32 or (dtype == jnp.bfloat16 and _has_bfloat16()):
        return x, kernel, dtype
    return x.astype(jnp.float32), kernel.astype(jnp.float32), dtype


@functools.cache
def _has_bfloat16() -> bool:
    """oneDNN computes bfloat16 where there is AVX-512."""
    try:
        return " avx512bw " in pathlib.Path("/proc/cpuinfo").read_text().replace("\n", " ")
    except OSError:
        return False


@functools.cache
def problem() -> str | None:
    """Why the call cannot be used in this process, or None: a tiny convolution decides.

    Once for each jaxlib and processor where there is a cache folder (`conv_checked`).
    """
    if conv_checked.passed():
        return None
    if not _versions_checked():
        code = "from darkjax.ops import conv_onednn as c; import sys; sys.exit(c.failure() or 0)"
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        try:
            child = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, timeout=120
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            return f"the oneDNN self-check could not run: {e}"
        if child.returncode:
            return f"the oneDNN self-check failed with jaxlib {jaxlib.__version__}"
    found = failure()
    if found is None:
        conv_checked.remember()
    return found


def _versions_checked() -> bool:
    return jaxlib.__version__ in CHECKED_JAXLIB


def failure() -> str | None:
    """What is wrong with the call's output and gradients on tiny arrays, None if nothing."""
    found: list[str | None] = []

    def run() -> None:
        try:
            found.append(_compare())
        except Exception as e:  # whatever a private interface may raise
            found.append(f"the oneDNN call raises {type(e).__name__}: {str(e)[:200]}")

    # A thread of its own: the caller may be inside a trace, a mesh or a transfer guard.
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def _compare() -> str | None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4, 5, 6, 4), np.float32)
    kernel = rng.standard_normal((3, 3, 3, 2, 4), np.float32)
    strides, padding, groups = (1, 2, 2), ((1, 1), (0, 1), (1, 1)), 2

    def native(x: Array, kernel: Array) -> Array:
        numbers = ("NDHWC", "DHWIO", "NDHWC")
        return lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=numbers, feature_group_count=groups
        )

    def onednn(x: Array, kernel: Array) -> Array:
        return conv3d(x, kernel, strides, padding, groups)

    def everything(f, x, kernel):  # type: ignore[no-untyped-def]
        y, back = jax.vjp(f, x, kernel)
        return y, back(jnp.cos(y))

    with jax.transfer_guard("allow"), jax.default_device(jax.local_devices(backend="cpu")[0]):
        for dtype in (jnp.float32, jnp.bfloat16):
            arrays = jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)
            a, b = (
                jax.tree.leaves(jax.jit(functools.partial(everything, f))(*arrays))
                for f in (onednn, native)
            )
            bound = 1e-5 if dtype == jnp.float32 else 3e-2
            for one, other in zip(a, b, strict=True):
                one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
                if not np.abs(one - other).max() <= bound * np.abs(other).max():
                    return "the oneDNN call gives other numbers than XLA's convolution"
    return None
