"""From an original's state dict to our variables, by rules that each family writes down.

A state dict is name -> numpy array, as PyTorch names it. Names are taken apart into modules
(`layer1.0.conv1`) and leaves (`weight`); a family's rules rename the modules, and the leaves
follow from what is there:

- `running_mean` beside it: batch norm -> `scale`, `bias`, `mean`, `var`;
- weight of 3 to 5 dimensions: convolution `[O, I, *k]` -> `kernel [*k, I, O]`;
- of 2: linear `[O, I]` -> `kernel [I, O]`; of 1: layer norm -> `scale`.

Arrays without a module (`cls_token`) are renamed as a whole. Where only axes of length one
differ from what the model expects (a 1x1x1 convolution used as a linear layer, a 2-D kernel
where ours is 1xkxk) the array is reshaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

StateDict = dict[str, np.ndarray]
# What a special rule does with a module's leaves: {leaf: array} -> {our path below: array}.
Change = Callable[[StateDict], StateDict]
LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


# The convolution beside a block, as torchvision and its descendants name it.
SHORTCUT = (
    (r"layer(\d)\.(\d+)\.downsample\.0", r"stage\1_\2/shortcut"),
    (r"layer(\d)\.(\d+)\.downsample\.1", r"stage\1_\2/shortcut_bn"),
)


class NameMap(NamedTuple):
    """How one family names things.

    `rules`: `(regex, ours)` or `(regex, ours, change)`; the first whose regex matches the whole
    module (or the whole name of an array that is no module's) wins, `ours` may use its groups;
    `ours=None` leaves the array out. `change` makes the leaves itself, see `split_qkv`.
    `strip`: regexes of prefixes that published files carry (`module\\.`), removed beforehand.
    `prepare`: renaming that regexes cannot express, before the rules.
    """

    rules: tuple[tuple, ...]
    strip: tuple[str, ...] = (r"module\.",)
    prepare: Callable[[StateDict], StateDict] | None = None


class Renamed(NamedTuple):
    """Our flat paths (`a/b/kernel`) by collection, and the names no rule knows."""

    params: StateDict
    batch_stats: StateDict
    unknown: list[str]


def rename(state: Mapping[str, np.ndarray], names: NameMap) -> Renamed:
    """Apply a family's rules to a whole state dict.

    Args:
      state: name -> array, as read from the file.
      names: the family's rules.

    Returns:
      Arrays under our paths, kernels transposed; see `fit` for the comparison with a model.
    """
    state = stripped(state, names.strip)
    if names.prepare is not None:
        state = names.prepare(state)
    params: StateDict = {}
    stats: StateDict = {}
    unknown = []
    for module, leaves in modules(state).items():
        rule = _rule(module, names.rules)
        if rule is None:
            unknown += [f"{module}.{leaf}" if leaf else module for leaf in leaves]
            continue
        ours, change = rule
        if ours is None:
            continue
        for leaf, value in (change or plain)(leaves).items():
            to = stats if leaf in ("mean", "var") else params
            to["/".join(part for part in (ours, leaf) if part)] = value
    return Renamed(params, stats, unknown)


def stripped(state: Mapping[str, np.ndarray], prefixes: tuple[str, ...]) -> StateDict:
    """The state dict without the prefixes that every published file may or may not have."""
    found = dict(state)
    for prefix in prefixes:
        found = {re.sub(rf"\A(?:{prefix})", "", k): v for k, v in found.items()}
    return found


def modules(state: Mapping[str, np.ndarray]) -> dict[str, StateDict]:
    """Leaves by module; an array that is itself a parameter has the one leaf ""."""
    found: dict[str, StateDict] = {}
    for name, value in state.items():
        module, _, leaf = name.rpartition(".")
        if leaf not in LEAVES or not module:
            module, leaf = name, ""
        found.setdefault(module, {})[leaf] = np.asarray(value)
    return found


def plain(leaves: StateDict) -> StateDict:
    """The leaves of an ordinary module or parameter under our names and layout."""
    if "" in leaves:
        return {"": leaves[""]}
    found = {}
    if "weight" in leaves:
        weight = leaves["weight"]
        if weight.ndim >= 2:
            found["kernel"] = kernel(weight)
        else:
            found["scale"] = weight
    renamed = {"bias": "bias", "running_mean": "mean", "running_var": "var"}
    return found | {ours: leaves[leaf] for leaf, ours in renamed.items() if leaf in leaves}


def kernel(weight: np.ndarray) -> np.ndarray:
    """`[O, I, *k]` -> `[*k, I, O]`: convolutions and linear layers."""
    return np.moveaxis(weight, (0, 1), (-1, -2))


def split_qkv(leaves: StateDict) -> StateDict:
    """A packed `[3 E, E]` projection as `query`, `key`, `value`."""
    found = {}
    for leaf, value in plain(leaves).items():
        for name, part in zip(("query", "key", "value"), np.split(value, 3, axis=-1), strict=True):
            found[f"{name}/{leaf}"] = part
    return found


def _rule(module: str, rules: tuple[tuple, ...]) -> tuple[Any, Change | None] | None:
    """Our name for a module and what to do with its leaves; None where no rule matches."""
    for pattern, ours, *change in rules:
        match = re.fullmatch(pattern, module)
        if match:
            name = None if ours is None else match.expand(ours)
            return name, (change[0] if change else None)
    return None


class Fit(NamedTuple):
    """The four lists of loading weights into a model, and what was placed.

    `matched`: our paths; `missing`: in the model alone; `extra`: in the file alone; `other_shape`:
    `(path, shape in the file, shape in the model)`.
    """

    placed: StateDict
    matched: list[str]
    missing: list[str]
    extra: list[str]
    other_shape: list[tuple[str, tuple[int, ...], tuple[int, ...]]]


def fit(found: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]) -> Fit:
    """Compare arrays with the shapes a model expects; both by flat path."""
    placed, other = {}, []
    for path, value in found.items():
        if path not in wanted:
            continue
        shape = tuple(wanted[path])
        if value.shape != shape and _same_but_ones(value.shape, shape):
            value = value.reshape(shape)
        if value.shape != shape:
            other.append((path, value.shape, shape))
        else:
            placed[path] = value
    return Fit(
        placed,
        sorted(placed),
        sorted(set(wanted) - set(found)),
        sorted(set(found) - set(wanted)),
        sorted(other),
    )


def _same_but_ones(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return [n for n in a if n != 1] == [n for n in b if n != 1]
