"""Every program explains itself: `--help` of all of them, `python -m` of every package."""

import importlib
import os
import subprocess
import sys

import pytest
import tiny_run

from darkjax import program, verbs
from darkjax.errors import Stopped, UserError

PROGRAMS = program.commands("darkjax")
PACKAGES = sorted(
    "darkjax"
    + "".join(f".{part}" for part in file.relative_to(tiny_run.ROOT / "darkjax").parts[:-1])
    for file in (tiny_run.ROOT / "darkjax").rglob("__main__.py")
)


def run(*command):
    return subprocess.run(
        [sys.executable, *command],
        cwd=tiny_run.ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_programs_are_found_by_their_guard():
    named = {f"darkjax.{name}" for name in ("main", "data.convert", "weights.convert")}
    tools = {f"darkjax.tools.{name}" for name in ("describe", "enhance", "forward", "profile")}
    assert named | tools <= PROGRAMS.keys()
    guarded = [
        file
        for file in (tiny_run.ROOT / "darkjax").rglob("*.py")
        if '\nif __name__ == "__main__":\n' in file.read_text() and file.name != "__main__.py"
    ]
    assert len(guarded) == len(PROGRAMS)
    assert all(line and "python -m" not in line for line in PROGRAMS.values())


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_help_is_printed_and_is_no_error(name, capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module(name).main(["--help"])
    found = capsys.readouterr()
    assert end.value.code == 0 and not found.err
    assert found.out.startswith(f"usage: python -m {name} ") and PROGRAMS[name][:20] in found.out


def test_help_of_main_shows_an_example_and_how_to_list_the_fields():
    found = run("-m", "darkjax.main", "--help")
    assert found.returncode == 0 and not found.stderr
    assert "--config=configs/lift_arid.py:small" in found.stdout
    assert "python -m darkjax.tools.describe" in found.stdout and "--fields" in found.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_is_in_it(package, capsys):
    below = program.commands(package)
    for argv in ([], ["--help"]):
        assert program.overview(package, argv) == 0
        out = capsys.readouterr().out
        assert all(f"python -m {name} " in out and line in out for name, line in below.items())
    assert below or "python -m darkjax lists what is" in out
    with pytest.raises(UserError, match="takes no arguments, found 'trian'"):
        program.overview(package, ["trian"])


def test_packages_are_programs():
    assert {"darkjax", "darkjax.data", "darkjax.eval", "darkjax.weights"} <= set(PACKAGES)
    found = run("-m", "darkjax.eval")
    assert found.returncode == 0 and not found.stderr and "darkjax.eval.classify" in found.stdout


def test_every_program_has_a_verb(capsys):
    known = verbs.verbs()
    assert set(known.values()) == PROGRAMS.keys() and len(known) == len(PROGRAMS)
    assert known["train"] == "darkjax.main" and known["convert"] == "darkjax.data.convert"
    assert known["weights.convert"] == "darkjax.weights.convert"
    assert known["flow"] == "darkjax.tools.flow" and known["data.flow"] == "darkjax.data.flow"
    assert verbs.main([]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {word} " in out and PROGRAMS[known[word]] in out for word in known)
    with pytest.raises(UserError, match=r"no verb 'trian': did you mean 'train'\?"):
        verbs.main(["trian"])


def test_a_verb_is_its_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x"])
    with pytest.raises(SystemExit) as end:
        verbs.main(["embed", "--help"])
    assert end.value.code == 0 and sys.argv == ["darkjax embed", "--help"]
    assert capsys.readouterr().out.startswith("usage: python -m darkjax.tools.embed ")


@pytest.mark.parametrize(("closed", "said"), [("", ""), ("gone", "gone\n")])
def test_a_reader_that_leaves_is_no_traceback(closed, said):
    code = f"from darkjax import program; program.run(lambda: print('x' * 10**6), {closed!r})"
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does when it has seen enough
    try:
        found = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tiny_run.ROOT,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writing)
    assert (found.returncode, found.stderr) == (141, said)


def test_how_a_program_ends(capsys):
    def stopped():
        raise KeyboardInterrupt

    def wrong():
        raise UserError("expected this, found that")

    def ended():
        raise Stopped("stopped at step 7 of flow", 15)

    for main, status, said in (
        (lambda: None, None, ""),
        (lambda: 1, 1, ""),
        (stopped, 130, "stopped\n"),
        (wrong, 2, "error: expected this, found that\n"),
        (ended, 143, "stopped at step 7 of flow: the same command goes on from there\n"),
    ):
        with pytest.raises(SystemExit) as end:
            program.run(main)
        assert end.value.code == status and capsys.readouterr().err == said


def test_describe_lists_every_field_with_what_it_may_be_and_what_it_is_for(capsys):
    from darkjax import config as configs
    from darkjax import ranges
    from darkjax.tools import describe

    file = f"{tiny_run.ROOT}/configs/lift_arid.py:demo"
    assert describe.main([f"--config={file}", "--fields"]) == 0
    lines = capsys.readouterr().out.splitlines()
    fields = list(ranges.walk(configs.load(file)))
    assert len(lines) == 2 * len(fields) > 200
    for field, name, about in zip(fields, lines[::2], lines[1::2], strict=True):
        assert name == f"{field.path} = {field.value!r}" and field.check.text in about
    at = lines.index("bn_group = 0")
    assert lines[at + 1].endswith(
        "; examples normalised together by batch norm; 0 = the whole batch"
    )
