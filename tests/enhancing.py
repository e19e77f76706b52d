"""What tests of several enhancers of frames ask in the same way."""

import jax
import jax.numpy as jnp
import numpy as np


def takes_any_batch(enhance, atol):
    """Several batch axes, jit, bfloat16 and one channel; (a dark clip, what became of it)."""
    rng = np.random.default_rng(0)
    video = jnp.asarray(rng.uniform(0, 0.4, (2, 2, 7, 9, 3)), jnp.float32)
    compiled = jax.jit(enhance)
    out = compiled(video)
    assert out.shape == video.shape and float(out.min()) >= 0 and float(out.max()) <= 1
    np.testing.assert_allclose(out[1, 0], compiled(video[1, 0]), atol=atol)
    assert jax.eval_shape(enhance, video.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert jax.eval_shape(enhance, video[..., :1]).shape == (2, 2, 7, 9, 1)
    return video, out


def keeps(enhance, level, **tolerance):
    """A flat clip of this level stays what it is, with a finite slope."""
    video = jnp.full((2, 5, 7, 3), level)
    value, slope = jax.jit(jax.value_and_grad(lambda v: jnp.sum(enhance(v))))(video)
    np.testing.assert_allclose(value, level * video.size, **tolerance)
    assert np.isfinite(slope).all()
