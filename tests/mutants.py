"""Mutation testing: does a test fail when a line of the code is wrong? See docs/testing.md.

    python tests/mutants.py darkjax/losses/distillation.py tests/losses/test_classification.py

mutmut makes the mutants (`pip install mutmut`). Its own runner starts Python, and so JAX, for each;
here the tests are collected once, the code of the module's functions is exchanged where they are,
and the tests run, quick ones first, until one fails. No file is changed. What only another process
of a test runs is never seen. Survivors and a row of the table are printed.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import os
import pathlib
import random
import re
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper
from mutmut.mutation import file_mutation, mutators
from mutmut.mutation.pragma_handling import IgnoredCode

ROOT = pathlib.Path(__file__).resolve().parents[1]


# Which mutants --------------------------------------------------------------------------------


def mutants(source: str) -> list[Callable[[], str]]:
    """The source with one thing wrong, for each thing; nothing in errors' words and types."""
    modules = _modules(cst.parse_module(source))

    def unwrapped(call: cst.Call) -> Iterator[cst.BaseExpression]:
        """`f(x, ...)` to `x`, `x.f(...)` to `x`: a step left out."""
        if isinstance(call.func, cst.Attribute) and _root(call.func) not in modules:
            yield call.func.value
        elif call.args and not call.args[0].keyword and not call.args[0].star:
            yield call.args[0].value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])

    def unmasked(call: cst.Call) -> Iterator[cst.BaseExpression]:
        """`masked_mean(values, mask)` to a plain mean: padding weighs."""
        if "masked_mean" in cst.Module([]).code_for_node(call.func):
            yield cst.Call(cst.parse_expression("jnp.mean"), call.args[:1])

    def arguments(call: cst.Call) -> Iterator[cst.BaseExpression]:
        """Without each keyword, with each keyword None, without the last position."""
        for i, arg in enumerate(call.args):
            if arg.keyword or (i and i == len(call.args) - 1 and not arg.star):
                yield call.with_changes(args=[*call.args[:i], *call.args[i + 1 :]])
            if arg.keyword and not cst.ensure_type(arg.keyword, cst.Name).value.startswith("_"):
                none = arg.with_changes(value=cst.Name("None"))
                yield call.with_changes(args=[*call.args[:i], none, *call.args[i + 1 :]])

    def string(node: cst.BaseString) -> Iterator[cst.BaseString]:
        yield from list(mutators.operator_string(node))[:1]

    instead = {
        mutators.operator_arg_removal: [arguments, unwrapped, unmasked],
        mutators.operator_string: [string],
        mutators.operator_assignment: [],  # `x = None` fails wherever x is used
    }
    operators = [
        (kind, new) for kind, old in mutators.mutation_operators for new in instead.get(old, [old])
    ]
    nothing = IgnoredCode(set(), set(), set())
    visitor = file_mutation.MutationVisitor(operators, nothing)
    module = MetadataWrapper(cst.parse_module(source)).visit(visitor)
    errors = _Errors()
    module.visit(errors)
    return [
        lambda m=m: module.deep_replace(m.original_node, m.mutated_node).code
        for m in visitor.mutations
        if m.original_node not in errors.nodes
    ]


class _Errors(cst.CSTVisitor):
    """Every node of a `raise`."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: set[cst.CSTNode] = set()
        self._depth = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        self._depth += isinstance(node, cst.Raise)
        if self._depth:
            self.nodes.add(node)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        self._depth -= isinstance(original_node, cst.Raise)


def _modules(module: cst.Module) -> set[str]:
    """The names that imports bind."""
    names: set[str] = set()

    class Imports(cst.CSTVisitor):
        def visit_ImportAlias(self, node: cst.ImportAlias) -> None:
            name = node.evaluated_alias or node.evaluated_name.split(".")[0]
            names.add(name)

    module.visit(Imports())
    return names


def _root(node: cst.BaseExpression) -> str:
    while isinstance(node, cst.Attribute):
        node = node.value
    return node.value if isinstance(node, cst.Name) else ""


def change(source: str, code: str) -> str:
    """The lines that differ, with their numbers in the source."""
    lines = difflib.unified_diff(source.splitlines(), code.splitlines(), n=0, lineterm="")
    return "\n".join(line for line in lines if not line.startswith(("---", "+++")))


# Trying them ----------------------------------------------------------------------------------


def exchange(module: types.ModuleType, code: str) -> None:
    """Give the module's functions, methods and constants those of another source."""
    new = types.ModuleType(module.__name__)
    new.__file__ = module.__file__
    exec(compile(code, str(module.__file__), "exec"), new.__dict__)
    _exchange(vars(module), vars(new), module.__name__)


def _exchange(old: Any, new: Any, name: str) -> None:
    for key, value in list(old.items()):
        other = new.get(key)
        value, other = (getattr(x, "__func__", x) for x in (value, other))
        home = getattr(value, "__module__", name)
        if home != name and not (home or "").startswith("namedtuple_"):
            continue
        if isinstance(value, types.FunctionType) and isinstance(other, types.FunctionType):
            for part in ("__code__", "__defaults__", "__kwdefaults__"):
                setattr(value, part, getattr(other, part))
        elif isinstance(value, type):
            _exchange(vars(value), vars(other), name)
        elif isinstance(value, tuple | dict | str | int | float) and isinstance(old, dict):
            old[key] = value if key.startswith("__") else other


def forget(*modules: types.ModuleType) -> None:
    """What `jax.jit` keeps of functions whose code is another now."""
    import jax

    def walk(value: Any) -> None:
        if hasattr(value, "clear_cache"):
            value.clear_cache()
        elif isinstance(value, types.FunctionType):
            jax.jit(value).clear_cache()
        elif isinstance(value, dict | list | tuple):
            for one in value.values() if isinstance(value, dict) else value:
                walk(one)

    for module in modules:
        walk({k: v for k, v in vars(module).items() if not k.startswith("__")})


class Trial:
    """In the place of pytest's loop over the tests: that loop for each mutant."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.source = pathlib.Path(args.file).read_text()
        self.module = types.ModuleType("not yet imported")
        self.seconds: dict[str, float] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        args, source = self.args, self.source
        name = args.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self.module = importlib.import_module(name)
        every = mutants(source)
        if args.only:
            every = [m for m in every if re.search(args.only, change(source, m()))]
        tried = every
        if args.sample and args.sample < len(every):
            chosen = random.Random(0).sample(range(len(every)), args.sample)
            tried = [every[i] for i in sorted(chosen)]
        if session.testsfailed or not session.items:
            raise pytest.UsageError("tests that could not be collected kill no mutant")
        known = {}
        if args.out and os.path.exists(args.out):
            lines = pathlib.Path(args.out).read_text().splitlines()
            known = {d["change"]: d["killer"] for d in map(json.loads, lines)}
        if failed := self.failing(session, 7200):
            raise pytest.UsageError(f"{failed} fails without a mutant")
        for item in session.items:
            self.seconds.setdefault(item.nodeid, 0.0)
        session.items.sort(key=lambda item: self.seconds[item.nodeid])
        once = sum(self.seconds.values())
        limit = 3 * once + 10
        say(f"{args.file}: {len(tried)} of {len(every)} mutants; tests of {once:.0f} s of CPU")
        module = self.module
        survivors = 0
        for number, mutant in enumerate(tried, 1):
            code = mutant()
            what = change(source, code)
            killer = known.get(what)
            if killer is None or (args.again and not killer):
                try:
                    exchange(module, code)
                    killer = self.failing(session, limit)
                except Exception as error:
                    killer = f"import: {error!r}"
                exchange(module, source)
                if args.out:
                    with open(args.out, "a") as out:
                        print(json.dumps({"change": what, "killer": killer}), file=out)
            if not killer:
                survivors += 1
                say(f"survived ({number} of {len(tried)}):\n{what}")
        killed = len(tried) - survivors
        say(f"| `{args.file}` | {len(every)} | {len(tried)} | {killed} | {survivors} |")
        return True

    def failing(self, session: pytest.Session, limit: float) -> str:
        """The first test that fails or takes too long, or nothing."""
        from _pytest.runner import runtestprotocol

        forget(self.module, *{item.module for item in session.items})

        def late(*_: Any) -> None:
            raise TimeoutError("the mutant does not end")

        signal.signal(signal.SIGPROF, late)
        signal.setitimer(signal.ITIMER_PROF, limit)
        try:
            for i, item in enumerate(session.items):
                began = time.process_time()
                following = session.items[i + 1] if i + 1 < len(session.items) else None
                reports = runtestprotocol(item, log=False, nextitem=following)
                self.seconds[item.nodeid] = time.process_time() - began
                if any(report.failed for report in reports):
                    session._setupstate.teardown_exact(None)
                    return item.nodeid
        except TimeoutError:
            session._setupstate.teardown_exact(None)
            return "too slow"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return ""

    def pytest_collection(self) -> None:
        """Keep every program, however small: mutants share most of them."""
        import jax

        jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "mutants"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def say(text: str) -> None:
    """Past pytest, which keeps what tests print."""
    print(text, file=sys.__stderr__, flush=True)


def main() -> None:
    """Survivors, and one row of the table."""
    import hypothesis

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="the module whose mutants are tried")
    parser.add_argument("options", nargs="+", help="test files and other arguments of pytest")
    parser.add_argument("--sample", type=int, help="try so many, drawn with seed 0")
    parser.add_argument("--only", help="a regular expression that a mutant's changed lines match")
    parser.add_argument("--out", help="answers, one JSON object a line; a later run goes on there")
    parser.add_argument("--again", action="store_true", help="ask again for those that survived")
    args, more = parser.parse_known_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))  # as `python -m pytest` has it: tests import configs
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # the smallest is not asked for
    hypothesis.settings.register_profile("mutants", phases=phases, database=None)
    hypothesis.settings.load_profile("mutants")
    plain = ["-q", "-n", "0", "-p", "no:cacheprovider", "--timeout=0", "--capture=sys"]
    plain += ["--jaxtyping-packages="]  # a function that is checked is not the one to exchange
    plain += ["-W", "ignore:Module already imported"]  # before pytest could rewrite its asserts
    sys.exit(pytest.main([*plain, *args.options, *more], plugins=[Trial(args)]))


if __name__ == "__main__":
    main()
