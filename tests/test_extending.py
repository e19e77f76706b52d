"""docs/extending.md does what it says: its two files, run as printed."""

import pathlib
import re
import sys

import pytest
import tiny_run

from darkjax import config as configs
from darkjax import experiment, methods

PAGE = (tiny_run.ROOT / "docs" / "extending.md").read_text()


@pytest.mark.whole
def test_the_example_runs_as_it_is_printed(tmp_path, monkeypatch, one_device):
    blocks = re.findall(r"^In `(.*?)`.*?^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in blocks] == ["mypaper/small_features.py", "mypaper/config.py"]
    (tmp_path / "mypaper").mkdir()
    for name, code in blocks:
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (command,) = re.findall(
        r"^    python -m darkjax.main --config=(\S+) --workdir=(\S+)$", PAGE, re.M
    )
    c = configs.load(command[0])
    found = experiment.run(c, command[1])
    assert found["numbers"]["n"] == 8
    assert pathlib.Path(command[1], "report.html").exists()
    log = pathlib.Path(command[1], "train", "metrics.jsonl").read_text()
    assert '"size"' in log and '"ce"' in log


def test_every_member_is_in_the_table():
    table = PAGE.partition("## What a method may say")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)", "\n".join(re.findall(r"^\| (.*?) \|", table, re.M))))
    ours = {name for name in vars(methods.Method) if not name.startswith("_")}
    assert named == ours
