"""The papers and scripts around the code: README, CI, launch files."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib import metadata

import pytest
import tiny_run
import yaml

from darkjax import config as configs
from darkjax.errors import UserError
from darkjax.version import __version__

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "darkjax"

VENV = "python3 -m venv .venv && .venv/bin/python -m pip install -q -e "
DEMO = VENV + "'.[all]' && .venv/bin/python -m darkjax.main --config=configs/lift_arid.py:demo"
TEST = VENV + "'.[test]' && .venv/bin/python -m pytest"


# ---------------------------------------------------------------- README and CI


def test_the_readme_opens_with_the_demo_and_the_test_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert [(kind, body.strip()) for kind, body in blocks[:2]] == [("bash", DEMO), ("bash", TEST)]


def bash(script, **kw):
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, **kw
    )


def function(name):
    """One function of .ci/run, as text."""
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    return re.search(rf"^{name}\(\).*?^}}", text, flags=re.MULTILINE | re.DOTALL)[0]


def test_ci_runs_the_second_block_of_the_readme(tmp_path):
    (tmp_path / "README.md").write_text("# x\n```bash\none\n```\ntwo\n```bash\nthree\n```\n")
    done = bash(function("readme_block") + "\nreadme_block 2", cwd=tmp_path)
    assert done.stdout == "three\n"
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "test_command=$(readme_block 2)" in text
    assert 'bash -euo pipefail -c "$test_command"' in text


def test_ci_passes_over_an_interpreter_that_exists_and_fails(tmp_path):
    broken = tmp_path / "python3.13"
    broken.write_text("#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n")
    broken.chmod(0o755)
    assert bash(function("works") + f"\nworks {broken}").returncode != 0
    assert bash(function("works") + f"\nworks {sys.executable}").returncode == 0


@pytest.mark.parametrize(
    "script", [".ci/run", *(f"launch/{name}.sh" for name in ("tpu_pod", "slurm", "slurm_sweep"))]
)
def test_scripts_parse_and_can_be_run(script):
    path = ROOT / script
    assert subprocess.run(["bash", "-n", path], capture_output=True).returncode == 0
    assert path.stat().st_mode & 0o111, f"chmod +x {script}"
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")


# ---------------------------------------------------------------- launch files


def test_kubernetes_file_agrees_with_itself():
    text = (ROOT / "launch" / "kubernetes.yaml").read_text(encoding="utf-8")
    service, job = yaml.safe_load_all(text)
    pods = job["spec"]["template"]["spec"]
    container = pods["containers"][0]
    env = {e["name"]: e["value"] for e in container["env"]}
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    job_name = job["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None" and pods["subdomain"] == name
    assert service["spec"]["selector"]["job-name"] == job_name
    assert env["COORDINATOR"] == f"{job_name}-0.{name}:{port}"
    n = job["spec"]["completions"]
    assert n == job["spec"]["parallelism"] == int(env["NUM_PROCESSES"])
    assert job["spec"]["completionMode"] == "Indexed"
    mounted, offered = container["volumeMounts"], pods["volumes"]
    assert {m["name"] for m in mounted} == {v["name"] for v in offered}


@pytest.mark.parametrize("name", ["tpu_pod.sh", "slurm.sh", "kubernetes.yaml"])
def test_launch_files_use_flags_that_main_has(name):
    text = (ROOT / "launch" / name).read_text(encoding="utf-8")
    command = text[text.index("-m darkjax.main") :].split("resources:")[0]
    used = set(re.findall(r"--(\w+)[= ]", command))
    main = (PACKAGE / "main.py").read_text(encoding="utf-8")
    missing = {flag for flag in used if f'"--{flag}"' not in main}
    assert used and not missing, f"darkjax/main.py defines no {missing}"
    config = re.search(r"configs/\w+\.py", text)[0]
    assert (ROOT / config).is_file()


def test_the_array_job_is_a_sweep_that_can_be_planned(tmp_path, monkeypatch, capsys):
    """The script's command, with --list: its config, fields and grid are real, and as many runs as
    the array has tasks."""
    from darkjax.tools import sweep

    script = ROOT / "launch" / "slurm_sweep.sh"
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    environment = {"PATH": os.environ["PATH"]}
    said = subprocess.run(
        ["bash", script, "--list"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert said.returncode == 0 and not said.stderr
    module, name, *flags = said.stdout.splitlines()
    assert (module, name) == ("-m", "darkjax.tools.sweep") and flags[-1] == "--list"
    monkeypatch.chdir(ROOT)
    assert sweep.main(flags) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    text = script.read_text(encoding="utf-8")
    tasks = re.search(r"^#SBATCH --array=(0-\d+)$", text, re.M)[1]
    assert last.endswith(f"--array={tasks}") and f"--array={tasks} launch/slurm_sweep.sh" in text


# ---------------------------------------------------------------- papers


def test_licence_is_the_full_apache_text():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    numbers = re.findall(r"^   (\d)\. [A-Z]", text, flags=re.MULTILINE)
    assert numbers == list("123456789")
    assert "END OF TERMS AND CONDITIONS" in text and "limitations under the License." in text


def test_citation_and_changelog_know_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of programs of a new environment with the wheel in it; what it depends on is taken
    from this one's packages."""
    if int(metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("the wheel is built by setuptools>=77: pip install 'darkjax[test]'")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("darkjax", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(source)]
    subprocess.run(wheel, check=True)
    (built,) = out.glob("darkjax-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(out / "venv")], check=True)
    programs = out / "venv" / "bin"
    (site,) = (out / "venv").glob("lib/python*/site-packages")
    # Added as plain folders: an editable darkjax in them stays unseen.
    (site / "others.pth").write_text("\n".join(sorted({sysconfig.get_path("purelib"),
                                                      sysconfig.get_path("platlib")})))  # fmt: skip
    into = ["--python", str(programs / "python"), "install", "--no-deps", "--no-index", str(built)]
    subprocess.run([*pip, *into], check=True)
    return programs


def shell(programs, folder, *words):
    """A program of the environment, started in a folder, with nothing of this checkout in sight."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".cache" / "jax")
    return subprocess.run(
        [str(programs / words[0]), *words[1:]],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )


def test_all_has_what_notebooks_and_tensorboard_need():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (every,) = extras["all"]
    names = re.search(r"\[(.*)\]", every)[1].split(",")
    found = {re.match(r"[\w-]+", need)[0] for name in names for need in extras[name]}
    assert {"ipykernel", "notebook", "tensorboard", "tensorboardX", "av"} <= found


@pytest.mark.slow
def test_the_wheel_trains_in_an_empty_folder(installed, tmp_path, tiny_folder):
    where = "import darkjax; print(darkjax.__file__)"
    assert str(installed.parent) in shell(installed, tmp_path, "python", "-c", where).stdout
    found = shell(installed, tmp_path, "darkjax", "describe", "--config=lift_arid:demo", "--fields")
    assert found.returncode == 0 and "student.optim.lr = " in found.stdout, found.stderr
    c = tiny_run.config(tiny_folder)
    tiny_run.records(c).close()
    fields = [f"--config.data.dir={tiny_folder}", "--config.data.num_classes=0"]
    fields += ["--config.data.size=32,32", "--config.classifier.batch_size=8"]
    fields += ["--config.classifier.steps=1", "--config.data.synthetic=None"]
    train = ["train", "--config=supervised:r3d18,demo", "--config.report_clips=1", *fields]
    found = shell(installed, tmp_path, "darkjax", *train)
    assert found.returncode == 0, found.stderr
    assert "top-1@" in found.stdout
    assert (tmp_path / "runs" / "supervised-r3d18-demo" / "report.html").exists()
    started = json.loads((tmp_path / "runs/supervised-r3d18-demo/config.json").read_text())
    assert started["starts"][0]["command"].startswith("python -m darkjax.main --config=supervised")
    found = shell(installed, tmp_path, "darkjax", "train", "--config=lift_ardi:demo")
    assert found.returncode == 2 and "or one of actlumos_arid, " in found.stderr


def test_a_config_is_found_by_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    whole = configs.load(f"{ROOT}/configs/supervised.py:demo")
    for name in ("supervised:demo", "configs/supervised.py:demo", "supervised.py:demo"):
        assert configs.load(name) == whole
    (tmp_path / "supervised.py").write_text("def get_config(arg): return 1")
    with pytest.raises(UserError, match="get_config gave a int"):
        configs.load("supervised.py:demo")  # her own comes first
    for name in ("other/supervised.py", "supervise"):
        with pytest.raises(UserError, match=r"expected a config file .* or one of .*supervised"):
            configs.load(name)


# ---------------------------------------------------------------- programs and clones


def test_help_does_not_wait_for_jax():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "darkjax.main", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "--config" in done.stdout and "Traceback" not in done.stderr
    loaded = set(re.findall(r"^import time:.*\|\s*(\S+)$", done.stderr, flags=re.MULTILINE))
    assert "darkjax" in loaded
    assert not loaded & {"jax", "flax", "orbax.checkpoint", "grain", "tensorflow"}


def test_git_ignores_what_the_commands_make():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    made = [".venv/x", ".venv-3.13/x", ".cache/jax/x", "darkjax.egg-info/x", "runs/x"]
    done = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == made
