"""How stages begin: what `init_from` will place, checked for all stages before one is trained.

A rule is `(source, regex, replacement)`. A source is an earlier stage of the same config, a folder
of weights that `darkjax.weights.convert` wrote, or a stage's folder of any run (`runs/x/teacher`).
Nothing is made or read but shapes. Frozen parameters that no rule fills would stay random for good:
such a stage is refused unless its `allow_random_frozen` is set.
"""

from __future__ import annotations

import functools
import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from darkjax import checkpoint, methods, optim
from darkjax.errors import UserError
from darkjax.state import init_key
from darkjax.weights import card, load, zoo

Tree = Mapping[str, Any]  # "params" and each collection -> nested arrays, or what stands for them


def check(config: Any, workdir: str | os.PathLike[str], specs: Mapping[str, methods.Spec]) -> None:
    """Go through the stages that `workdir` has not finished yet, abstractly.

    Args:
      config: resolved.
      workdir: of the run; a stage that was finished there is a source and is not checked again.
      specs: of every stage.

    Raises:
      UserError: a rule without its source, one that places nothing, shapes that differ, or frozen
        parameters that nothing fills.
    """
    names = [n for n in config.stages if not pathlib.Path(workdir, n, "done.json").exists()]

    @functools.cache
    def shapes(source: str) -> Tree:  # of a stage, or of what is stored in a folder
        if source not in config.stages:
            return stored(source)
        return abstract(methods.make(config[source], specs[source]))

    for name in names:
        _check_sources(name, config[name].init_from, config.stages)
    for name in names:
        stage = config[name]
        frozen = methods.make(stage, specs[name]).frozen
        if not (stage.init_from or frozen):
            continue
        sources = {rule[0]: shapes(rule[0]) for rule in stage.init_from}
        for rule in stage.init_from:
            _check_rule(name, rule, sources[rule[0]], shapes(name))
        check_frozen(name, stage, frozen, shapes(name)["params"], sources)


def abstract(method: methods.Method) -> Tree:
    """The shapes of a method's variables."""
    return jax.eval_shape(lambda b: method.init(init_key(0), b), method.spec.like(1))


def stored(folder: str) -> Tree:
    """The shapes of converted weights, of a run's stage or of its `checkpoints`.

    Raises:
      UserError: none of these is there.
    """
    if card.is_weights(folder):
        return load.shapes(folder)
    inner = os.path.join(folder, "checkpoints")
    return checkpoint.shapes(inner if os.path.isdir(inner) else folder)


def check_frozen(
    name: str,
    stage: Any,
    frozen: tuple[str, ...],
    params: Mapping[str, Any],
    sources: Mapping[str, Tree],
) -> None:
    """Refuse a stage some of whose frozen parameters come from no rule of `init_from`.

    Args:
      name: of the stage.
      stage: its config: `init_from`, `published`, `allow_random_frozen`.
      frozen: the method's regular expressions.
      params: what the stage has.
      sources: by the names that the rules use.
    """
    if stage.allow_random_frozen:
        return
    given = {
        target
        for rule in stage.init_from
        for _, target in _matches(rule, optim.flatten(sources[rule[0]]["params"]))
    }
    left = {k: v for k, v in optim.split(params, frozen)[1].items() if k not in given}
    if not left:
        return
    first = next(iter(left))
    raise UserError(
        f"{name}: {sum(math.prod(v.shape) for v in left.values()):,} frozen parameters (first "
        f"{first}) come from no init_from and would stay random: {_wanted(name, stage, left)}, "
        f"or let them be with --config.{name}.allow_random_frozen=True"
    )


def _wanted(name: str, stage: Any, left: Mapping[str, Any]) -> str:
    """Where the parameters are meant to come from."""
    folders = []
    for source, _, replacement in stage.published:
        # The constant beginning of what the rule places: student/pvit/vit/\1.
        if any(path.startswith(replacement.partition("\\")[0]) for path in left):
            folders.append(source)
    if not folders:
        return f"name their source in {name}.init_from (docs/weights.md), train them"
    makes = "; ".join(_how(folder) for folder in dict.fromkeys(folders))
    wanted = f"they are those of {' and '.join(dict.fromkeys(folders))}: {makes}"
    return f"{wanted}; then add `pretrained` to the config's words, or the word that trains them"


def _how(folder: str) -> str:
    """How a folder that is not there is made, by its name."""
    if pathlib.Path(folder).name in (*zoo.NAMES, *zoo.ENHANCERS):
        return zoo.command(folder)
    return f"train that stage first, or convert published weights ({zoo.command(folder)})"


def _check_sources(name: str, rules: Any, stages: Sequence[str]) -> None:
    """Each rule is three strings, its expression is valid and its source is there."""
    for rule in rules:
        good = isinstance(rule, tuple | list) and len(rule) == 3
        if not good or not all(isinstance(part, str) for part in rule):
            raise UserError(
                f"{name}.init_from: expected (stage or folder, regex, replacement), found {rule!r}"
            )
        source, regex, replacement = rule
        try:
            # The expression made optional: the replacement's groups are looked up without a match.
            re.sub(f"(?:{regex})?", replacement, "", count=1)
        except (re.error, IndexError) as error:
            raise UserError(
                f"{name}.init_from: {regex!r} -> {replacement!r} is no regular expression with "
                f"its replacement: {error}"
            ) from error
        if source in stages:
            if stages.index(source) >= stages.index(name):
                raise UserError(
                    f"{name}.init_from: {source!r} is not an earlier stage: they are trained in "
                    f"the order {', '.join(stages)}"
                )
        elif not os.path.isdir(source):
            raise UserError(f"{name}.init_from wants {source}, which is not there: {_how(source)}")


def _matches(rule: Any, paths: Any) -> Iterator[tuple[str, str]]:
    """(path of the source, path that the rule gives it)."""
    for path in paths:
        if re.fullmatch(rule[1], path):
            yield path, re.sub(rule[1], rule[2], path, count=1)


def _check_rule(name: str, rule: Any, source: Tree, here: Tree) -> None:
    """A rule places something, and only what fits."""
    placed = 0
    tried: tuple[str, ...] = ()
    for part in here:
        theirs, ours = (optim.flatten(tree.get(part, {})) for tree in (source, here))
        for path, target in _matches(rule, theirs):
            if target not in ours:
                tried = tried or (path, target)
                continue
            placed += 1
            found, expected = tuple(theirs[path].shape), tuple(ours[target].shape)
            if found != expected:
                raise UserError(
                    f"{name}.init_from: {path} of {rule[0]} is {found}, {target} is {expected}: "
                    "the models or their classes differ; leave it out with a regex such as "
                    "(?!head/)(.*)"
                )
    if not placed:
        why = (
            f"{tried[0]} would go to {tried[1]}, which this stage has not"
            if tried
            else f"no path matches, its first is {next(iter(optim.flatten(source['params'])), '')}"
        )
        raise UserError(
            f"{name}.init_from: the rule {rule[1]!r} -> {rule[2]!r} places nothing of {rule[0]}: "
            f"{why}"
        )
