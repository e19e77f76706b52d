"""What MViT and Video Swin do alike: precision, recomputation, gradients, dropped branches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_mvit
import test_swin3d
from tokens import apply, clips, initial

from darkjax.models.mvit import MViT
from darkjax.models.swin3d import Swin3D
from darkjax.optim import flatten


@pytest.mark.parametrize(
    ("cls", "fields", "shape"),
    [(MViT, test_mvit.TINY, (2, 4, 32, 32, 3)), (Swin3D, test_swin3d.TINY, (2, 6, 24, 24, 3))],
)
def test_bfloat16_is_near_and_ends_in_float32(cls, fields, shape):
    """Logits of both dtypes agree to 2 %; they are float32, the last map is bfloat16."""
    full, half, x = cls(5, **fields), cls(5, **fields, dtype=jnp.bfloat16), clips(*shape)
    v = initial(full, x)
    logits, out = apply(half, v, x)
    assert (logits.dtype, out["features"].dtype) == (jnp.float32, jnp.bfloat16)
    expected = apply(full, v, x)[0]
    np.testing.assert_allclose(logits, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "fields", "shape", "unseen"),
    [
        (
            MViT,
            {**test_mvit.TINY, "depth": 3, "splits": (1,)},
            (2, 4, 32, 32, 3),
            "pool_k/norm/bias",
        ),
        (Swin3D, test_swin3d.TINY, (2, 6, 24, 24, 3), "key/bias"),
    ],
)
def test_remat_changes_nothing_and_gradients_reach_every_parameter(cls, fields, shape, unseen):
    """But `unseen`, which is the same for every key: softmax does not see it."""
    x = clips(*shape)
    v = initial(cls(5, **fields), x)

    def grads(remat):
        model = cls(5, **fields, remat=remat)
        loss = lambda v: jnp.square(model.apply(v, x, train=True)[0]).sum()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss))(v)

    plain, again = grads(False), grads(True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), plain, again)
    for path, g in flatten(plain[1]["params"]).items():
        if not path.endswith(unseen):
            assert np.abs(g).max() > 1e-6, path


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (MViT(3, depth=2, splits=(), width=8, drop_path=0.5, dropout=0.5), (64, 2, 8, 8, 3)),
        (Swin3D(3, (8, (2,)), (2, 2, 2), head_dim=4, drop_path=0.5, dropout=0.5), (64, 2, 4, 4, 3)),
    ],
    ids=["MViT", "Swin3D"],
)
def test_drop_path_needs_an_rng_and_drops_whole_branches(model, shape):
    """Of two blocks with rates 0 and 0.5, and only where an rng is given."""
    x = clips(*shape)
    v = initial(model, x)
    quiet, out = apply(model, v, x)
    trained = jax.jit(lambda v, x, rngs: model.apply(v, x, train=True, rngs=rngs))
    np.testing.assert_array_equal(trained(v, x, {})[0], quiet)
    first, noisy = trained(v, x, {"dropout": jax.random.key(2)})
    assert np.abs(first - quiet).max() > 0.01
    np.testing.assert_allclose(noisy["stage1/0"], out["stage1/0"], atol=1e-5)  # rate 0 there
    branch = noisy["stage1/1"] - noisy["stage1/0"]
    dropped = np.mean(np.abs(branch).max(tuple(range(1, branch.ndim))) == 0)
    assert 0.05 < dropped < 0.5  # both branches of a clip: a quarter of the clips
