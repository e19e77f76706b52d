"""The one 3-D convolution every model uses, in the form that is fast on the platform.

On GPU and TPU it is `lax.conv_general_dilated` ("native"). XLA's CPU backend has no fast 3-D
convolution, so there are two more forms for the CPU, exact like the first: the same sums in another
order.

- "onednn" (`conv_onednn`): the oneDNN convolution inside XLA:CPU, by its private custom call. As
  fast as PyTorch. Taken when its self-check passes and one CPU device is in use.
- "pure" (`conv_pure`): matrix products, 2-D convolutions and shifted multiply-adds. Taken on the
  CPU otherwise.

Which form "auto" means is decided when a function is traced, from what is known then: the backend,
the number of devices, shapes and dtype. A custom call cannot be partitioned, so several devices (of
this or other processes) mean "pure", whatever the sharding. Sizes that are unknown when tracing
(`jax.export` with symbolic shapes) and dtypes other than float32 and bfloat16 mean "native". A
program that is exported must not hold the private call: trace it under `use_form("portable")`,
which is "pure" where it is lowered for a CPU and "native" elsewhere, both in one program.

Loops: on the CPU a native convolution inside `lax.scan` or `lax.map` runs on one thread, some 100
times slower. "onednn" keeps its speed there; "pure" contains native 2-D convolutions and does not.

Only the native form has forward-mode and second derivatives.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from darkjax.ops import conv_onednn, conv_pure

FORMS = ("auto", "native", "pure", "onednn", "portable")
Pads = Sequence[tuple[int, int]]
log = logging.getLogger(__name__)
_default = os.environ.get("DARKJAX_CONV", "auto")


def conv3d(
    x: Float[Array, "B T H W C"],
    kernel: Float[Array, "kt kh kw I O"],
    *,
    strides: Sequence[int] = (1, 1, 1),
    padding: Pads = ((0, 0), (0, 0), (0, 0)),
    groups: int = 1,
    form: str = "auto",
) -> Float[Array, "B t h w O"]:
    """Cross-correlate clips with a kernel (what deep learning calls convolution).

    Args:
      x: clips, channels last.
      kernel: `[kt, kh, kw, C // groups, O]`, same dtype as `x`.
      strides: over time, height and width.
      padding: zeros `(before, after)` for time, height and width.
      groups: channels are cut into this many independent groups.
      form: `"native"`, `"pure"`, `"onednn"` or `"portable"` of the module's docstring; `"auto"` is
        what `set_form` or the environment variable DARKJAX_CONV says, and without them chosen here.

    Returns:
      The output clips, in the dtype of `x`.
    """
    wanted = _known(form)
    if wanted == "auto":
        wanted = _known(_default)
    if wanted == "auto":
        wanted = _chosen(x, kernel)
    strides = tuple(strides)
    pads = tuple((before, after) for before, after in padding)
    if wanted == "portable":
        either = functools.partial(conv3d, strides=strides, padding=pads, groups=groups)
        pure, native = (functools.partial(either, form=name) for name in ("pure", "native"))
        return lax.platform_dependent(x, kernel, cpu=pure, default=native)
    if wanted == "native":
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            pads,
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
            feature_group_count=groups,
        )
    module = conv_onednn if wanted == "onednn" else conv_pure
    return module.conv3d(x, kernel, strides, pads, groups)


def set_form(form: str) -> None:
    """What "auto" means from now on, for functions that are not traced yet."""
    global _default
    _default = _known(form)


@contextlib.contextmanager
def use_form(form: str) -> Iterator[None]:
    """`set_form` for a while: `with use_form("native"): jax.export.export(jax.jit(f))(x)`."""
    before = _default
    set_form(form)
    try:
        yield
    finally:
        set_form(before)


@contextlib.contextmanager
def storable() -> Iterator[None]:
    """Trace and compile a program whose convolutions only give shapes (initial parameters).

    In the native form, so it holds no private call and JAX's compilation cache may store it, also
    after that call was traced. For the calling thread's programs: no other may compile meanwhile.
    """
    stopped = getattr(jax.config, conv_onednn.THRESHOLD) == math.inf
    if stopped:
        conv_onednn.store_again()
    try:
        with use_form("native"):
            yield
    finally:
        if stopped:
            conv_onednn.stop_storing()


def _known(form: str) -> str:
    if form not in FORMS:
        raise ValueError(f"conv3d: form must be one of {FORMS}, found {form!r}")
    return form


def _chosen(x: Array, kernel: Array) -> str:
    sizes_known = all(isinstance(n, int) for n in (*x.shape, *kernel.shape))
    if not sizes_known or x.dtype not in (jnp.float32, jnp.bfloat16):
        return "native"
    return _platform_form()


@functools.cache
def _platform_form() -> str:
    """The form of this process, said once in the log."""
    if jax.default_backend() != "cpu":
        form, why = "native", f"the backend is {jax.default_backend()}"
    elif jax.device_count() > 1:
        form, why = "pure", f"{jax.device_count()} CPU devices: a custom call is not partitioned"
    else:
        problem = conv_onednn.problem()
        form = "pure" if problem else "onednn"
        why = problem or "the self-check passed"
    log.info("convolutions: %s form (%s)", form, why)
    return form
