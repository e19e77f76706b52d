"""What is said of an enhancer: Eq. 4 as a metric, brightness, pictures."""

import jax.numpy as jnp
import numpy as np

from darkjax.eval import enhance
from darkjax.losses import enhancement


def clips():
    rng = np.random.default_rng(0)
    before = rng.uniform(0, 0.2, (5, 16, 20, 3)).astype(np.float32)
    return before, np.sqrt(before)


def test_numbers_are_eq_4_and_means():
    before, after = clips()
    found = enhance.numbers(before, after)
    expected = enhancement.spatio_temporal_consistency(jnp.asarray(after), jnp.asarray(before))
    np.testing.assert_allclose(found["inconsistency"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["brightness after"], after.mean(), rtol=1e-5)
    assert enhance.numbers(before, before)["inconsistency"] == 0


def test_applied_takes_the_variables_as_an_argument():
    before, _ = clips()
    bright = enhance.applied(lambda v, x: x * v, jnp.float32(2.0))
    np.testing.assert_allclose(bright(before), 2 * before, rtol=1e-6)
    levels = enhance.applied(lambda v, x: x, None, levels=True)
    assert levels(before).dtype == np.uint8


def test_difference_sheet_shows_frames_and_their_differences():
    before, after = clips()
    before[1] = before[0]  # nothing moves between the first two
    picture = enhance.difference_sheet([before, after])
    cell = enhance.CELL
    assert picture.shape == (2 * (cell + 4) + 4, 6 * (200 + 4) + 4, 3)
    assert not picture[4 : 4 + cell, 4 + 204 : 4 + 204 + 200].any()
    assert picture[8 + cell : 8 + 2 * cell, 4 + 204 : 4 + 404].any()
