"""docs/tutorial.md, typed in an empty folder as it stands there, by a process of its own."""

import contextlib
import io
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "tutorial.md"
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def plain(line):
    """Without its numbers, what they change of its layout, and what was learnt."""
    line = re.sub(r"\b(Jump|Walk)\b", "CLASS", line)
    return re.sub(r"[\d.,+:█]+|-{3,}", " ", line).split()


def typed(page):
    """Run a page in this folder and print all that it says; what the page prints is in it."""
    from darkjax import verbs

    said, names = [], {}
    for kind, text in FENCED.findall(page):
        heard = io.StringIO()
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            if kind == "python":
                exec(compile(text, "tutorial.md", "exec"), names)
            elif kind == "bash":
                for line in text.replace("\\\n", "").splitlines():
                    program, *words = shlex.split(line)
                    if program == "python":
                        command = [sys.executable, *words]
                        ran = subprocess.run(command, check=True, capture_output=True, text=True)
                        print(ran.stdout)
                    else:
                        assert program == "darkjax" and not verbs.main(words), line
        if kind == "text":
            for line in text.splitlines():
                assert plain(line) in said, f"it does not say: {line}"
        else:
            said = [plain(line) for line in heard.getvalue().splitlines()]
            print(text + heard.getvalue(), flush=True)


def test_a_page_that_prints_something_else_fails(capsys):
    page = "```bash\ndarkjax --help\n```\n\n```text\nusage: darkjax VERB [--help]\n```\n"
    typed(page)
    assert "predict" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="it does not say: usage: darkjax WORD"):
        typed(page.replace("VERB", "WORD"))
    typed("```bash\npython -c 'print(\"heard\")'\n```\n\n```text\nheard\n```\n")
    with pytest.raises(AssertionError, match="make x"):
        typed("```bash\nmake x\n```\n")


@pytest.mark.whole
def test_the_tutorial(tmp_path):
    # As users have it: flags of the tests compile quickly, and steps take four times as long.
    usual = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "DARKJAX_CONV")}
    usual["PYTHONPATH"] = str(PAGE.parents[1])
    command = [sys.executable, __file__]
    ran = subprocess.run(
        command, cwd=tmp_path, env=usual, capture_output=True, text=True, timeout=1500
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert (tmp_path / "seen.mp4").stat().st_size > 1000


if __name__ == "__main__":
    typed(PAGE.read_text("utf-8"))
