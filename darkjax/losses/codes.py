"""The discriminative code loss. K classes, N neurons of the code layer."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from darkjax.errors import UserError
from darkjax.losses.common import expect


def p_hot(
    num_classes: int, neurons: int, spread: Sequence[float] = ()
) -> Float32[np.ndarray, "K N"]:
    """The code of each class: ones at the neurons that are its own.

    With `p = neurons // num_classes`, class k (from 0) owns neurons pk to p(k + 1) - 1. Those that
    are left at the end go one each to the classes of the largest `spread`, the largest first.

    Args:
      num_classes: K.
      neurons: N, at least K.
      spread: how much the clips of each class differ in appearance, `[K]`; among equals, and where
        nothing is known (()), the first classes get the neurons.

    Raises:
      UserError: fewer neurons than classes, or a spread of other classes.

    References:
      Jiang et al. 2017 (arXiv 1705.06709), section 2.1 and its second footnote.
    """
    p, left = divmod(neurons, num_classes)
    if not p:
        raise UserError(
            f"a code layer of {neurons} neurons: expected at least one for each of the "
            f"{num_classes} classes"
        )
    if len(spread) not in (0, num_classes):
        raise UserError(f"expected the spread of {num_classes} classes, found {len(spread)}")
    widest = np.argsort(-np.asarray(spread or (0.0,) * num_classes), kind="stable")[:left]
    owner = np.concatenate([np.repeat(np.arange(num_classes), p), widest])
    return (owner == np.arange(num_classes)[:, None]).astype(np.float32)


def discriminative_codes(
    codes: Float[Array, "*B N"], targets: Float[Array, "*B N"]
) -> Float32[Array, "*B"]:
    """Squared distance between predicted and ideal codes: `|q - A x|^2`, a sum over the neurons.

    Args:
      codes: `A x`, what the code layer gives, any float dtype.
      targets: q, rows of `p_hot`.

    Returns:
      float32, >= 0; its slope at the codes is `-2 (q - A x)`.

    References:
      Jiang et al. 2017 (arXiv 1705.06709), Eq. 7; the slope is the factor of Eq. 9 and 10.
    """
    expect("discriminative_codes", "targets", targets.shape, codes.shape)
    apart = targets.astype(jnp.float32) - codes.astype(jnp.float32)
    return jnp.sum(apart * apart, axis=-1)
