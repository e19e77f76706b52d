"""Every command that the README and the docs print exists and takes the flags it is given."""

import argparse
import importlib
import importlib.util
import pathlib
import re
import shlex
import sys

import pytest

from darkjax import config as configs
from darkjax import overrides
from darkjax.sweeps import plan, search

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAPERS = [ROOT / "README.md", ROOT / "launch" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(text):
    """The words after `python` of every command: indented or fenced lines, and inline code."""
    text = re.sub(r"\\\n\s*", "", text)
    lines = re.findall(r"^(?: {4}|```bash\n)(.*python.*)$", text, flags=re.MULTILINE)
    lines += re.findall(r"`([^`\n]*\bpython -m [^`\n]*|[^`\n]*\bpython benchmarks[^`\n]*)`", text)
    for line in lines:
        for command in line.split("&&"):
            words = shlex.split(command, comments=True)
            starts = [i for i, word in enumerate(words) if re.search(r"(^|/)python3?$", word)]
            if starts:
                yield words[starts[0] + 1 :]


def ours():
    """(paper, program, arguments) of the commands that are this project's."""
    for paper in PAPERS:
        for words in commands(paper.read_text(encoding="utf-8")):
            program, *args = words[1:] if words[0] == "-m" else words
            if program.startswith(("darkjax", "benchmarks/")):
                yield paper.name, program, args


class Parser(BaseException):
    """The parser of a program, taken before it parses anything."""


def parser_of(program, monkeypatch):
    def taken(self, *_, **__):
        raise Parser(self)

    if program.startswith("benchmarks/"):
        monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
        spec = importlib.util.spec_from_file_location("documented", ROOT / program)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "documented", module)  # where dataclasses look
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(program)
    with monkeypatch.context() as patched, pytest.raises(Parser) as found:
        patched.setattr(argparse.ArgumentParser, "parse_args", taken)
        patched.setattr(sys, "argv", [program])
        module.main()
    return found.value.args[0]


SWEEP = "darkjax.tools.sweep"
ARGPARSE = sorted({program for _, program, _ in ours()} - {"darkjax.main", "darkjax"})


@pytest.mark.parametrize("program", ARGPARSE)
def test_programs_take_the_flags_of_the_docs(program, monkeypatch, capsys):
    parser = parser_of(program, monkeypatch)
    for paper, other, args in ours():
        if other == program and args:  # a name alone is a mention
            try:
                parser.parse_args(overrides.split(args)[0] if program == SWEEP else args)
            except SystemExit as error:
                if error.code:
                    pytest.fail(f"{paper}: {program} {' '.join(args)}: {capsys.readouterr().err}")


def test_main_takes_the_flags_of_the_docs():
    main = (ROOT / "darkjax" / "main.py").read_text(encoding="utf-8")
    found = [(paper, args) for paper, program, args in ours() if program == "darkjax.main"]
    assert len(found) > 5
    for paper, args in found:
        config = None
        for arg in args:
            name, _, value = arg.partition("=")
            if name == "--config":
                made_up = "…" in value or value.startswith("mypaper/")  # test_extending runs that
                config = None if made_up else configs.load(str(ROOT / value))
            elif name.startswith("--config."):
                section = config
                for part in name.split(".")[1:]:
                    assert part in section, f"{paper}: {arg}: the config has no such field"
                    section = section[part]
            elif name.startswith("--"):
                assert f'"{name}"' in main, f"{paper}: darkjax/main.py defines no {name}"


def test_sweeps_of_the_docs_can_be_planned(monkeypatch):
    """Their configs have the fields, and these may have the values."""
    parser = parser_of(SWEEP, monkeypatch)
    monkeypatch.chdir(ROOT)
    rows = []
    for _, program, args in ours():
        if program == SWEEP:
            flags, fields = overrides.split(args)
            a = parser.parse_args(flags)
            given = {k: plan.listed(getattr(a, k))[:1] for k in plan.REPEATED if getattr(a, k)}
            rows.append(len({cell.row for cell in plan.cells(a.config, fields, a.grid, given)}))
            loaded = configs.load(a.config[0], fields)
            drawn = [search.range_of(text, loaded) for text in a.search]
            for one in drawn:
                plan.checked(plan.Cell(a.config[0], (), ((one.field, one.values[0]),), ()))
    assert sorted(rows) == [1, 2, 2, 2]


def test_configs_of_the_docs_load():
    """With every word that is printed behind them."""
    found = set()
    for paper in PAPERS:
        found |= set(re.findall(r"configs/\w+\.py(?::[\w,]*\w)?", paper.read_text("utf-8")))
    assert len(found) > 8
    for name in sorted(found):
        configs.load(str(ROOT / name))


def test_commands_are_found_as_people_write_them():
    text = (
        "Text `python -m a.b --c=d` and\n\n    python x.py --one \\\n        --two=3   # why\n\n"
        "```bash\npython3 -m venv .venv && .venv/bin/python -m e --f='g h'\n```\n"
        "    X=1 taskset -c 0 python benchmarks/c.py --z\n"
    )
    assert sorted(commands(text)) == [
        ["-m", "a.b", "--c=d"],
        ["-m", "e", "--f=g h"],
        ["-m", "venv", ".venv"],
        ["benchmarks/c.py", "--z"],
        ["x.py", "--one", "--two=3"],
    ]
