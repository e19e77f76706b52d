"""Random numbers of a step: no two purposes draw from one key."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import methods, models
from darkjax.ops import augment

BATCH = 1500


@pytest.mark.parametrize(("file", "stage"), [("lift_arid", "teacher"), ("dtcm_arid", "dtcm")])
def test_dropout_and_every_example_have_keys_of_their_own(file, stage, monkeypatch):
    """Whatever the size of the batch; augmentation folds in the example's place, as ever."""
    given = {}

    def network(variables, video, *, train, rngs=None, **kwargs):
        if rngs:
            given.update(rngs)
            return (jnp.zeros((len(video), 3)), {}), {}
        curves = jnp.zeros((len(video), 1, 1, 1, 24))
        return (video, {"curves": curves}), {}

    def augmented(key, video, target, cfg, index=None):
        given["augment"] = key
        return video, target

    module = nn.Dense(1)  # of the right type; a module is frozen
    object.__setattr__(module, "apply", network)
    monkeypatch.setattr(models, "build", lambda *args, **kwargs: module)
    monkeypatch.setattr(augment, "augment", augmented)
    config = configs.load(f"{tiny_run.ROOT}/configs/{file}.py:demo")
    if "objective" in config[stage]:
        config[stage].objective, config[stage].enhancer_frozen = "recognition", True
    method = methods.make(configs.resolve(config)[stage], methods.Spec.numbered(3))
    rng = jax.random.key(7)
    batch = {
        "video": jnp.zeros((BATCH, 1, 1, 1, 3), jnp.uint8),
        "label": jnp.zeros(BATCH, jnp.int32),
        "mask": jnp.ones(BATCH, jnp.float32),
    }
    kinds = {kind: {"enhancer": {}, "classifier": {}} for kind in ("params", "batch_stats")}
    method.loss(kinds, batch, rng, 0.0)
    examples = augment.example_keys(given["augment"], BATCH)
    drawn = np.concatenate(
        [jax.random.key_data(k).reshape(-1, 2) for k in (examples, given["dropout"])]
    )
    assert len(np.unique(drawn, axis=0)) == BATCH + 1
    expected = jax.vmap(lambda i: jax.random.fold_in(rng, i))(jnp.arange(BATCH))
    np.testing.assert_array_equal(*map(jax.random.key_data, (examples, expected)))
