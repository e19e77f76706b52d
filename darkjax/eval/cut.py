"""A function cut open at what it gives on its way, so that slopes by that can be taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core
from jaxtyping import Array


def at(
    function: Callable[..., tuple[Array, dict[str, Array]]], *args: Any
) -> tuple[Array, dict[str, Array], Callable[[dict[str, Array]], Array]]:
    """(scores, out, rest) of `function(*args) -> (scores, out)`.

    `rest({name: value})` are the scores if those of `out` had these values: everything behind them
    is computed anew from there. It is traced once, as `jax.grad` would; no network is changed for
    it, and none need know of it. What `out` gives inside a jitted part of the function cuts what
    comes behind that part alone.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
    leaves = jax.tree.leaves(args)
    made = jax.tree.unflatten(jax.tree.structure(shape), core.jaxpr_as_fun(closed)(*leaves))
    places = jax.tree.unflatten(jax.tree.structure(shape), closed.jaxpr.outvars)
    scores, out = made

    def rest(values: dict[str, Array]) -> Array:
        known = closed.jaxpr
        fresh = {places[1][name]: core.gensym()(places[1][name].aval) for name in values}

        def instead(v: Any) -> Any:
            return fresh.get(v, v) if isinstance(v, core.Var) else v

        eqns = [e.replace(invars=[instead(v) for v in e.invars]) for e in known.eqns]
        cut = known.replace(
            invars=[*known.invars, *fresh.values()],
            outvars=[instead(places[0])],
            eqns=eqns,
        )
        inner = core.jaxpr_as_fun(core.ClosedJaxpr(cut, closed.consts))
        # Two names of one value are one place.
        given = {places[1][name]: value for name, value in values.items()}
        return inner(*leaves, *given.values())[0]

    return scores, out, rest
