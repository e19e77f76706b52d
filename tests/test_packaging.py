"""The papers and scripts around the code: README, CI, launch files, who imports whom."""

import ast
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from darkjax.version import __version__

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "darkjax"
MODULES = sorted(PACKAGE.rglob("*.py"))

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


@pytest.mark.parametrize("script", [".ci/run", "launch/tpu_pod.sh", "launch/slurm.sh"])
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


# ---------------------------------------------------------------- who imports whom

CHAIN = ("ops", "models", "methods", "train", "main")  # each may use those before it
CONSUMERS = ("eval", "tools", "main")  # what the parts below never use


def imports(tree, package):
    """Full names imported anywhere in a tree; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = (
                ".".join([*up, node.module] if node.module else up)
                if node.level
                else (node.module or "")
            )
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def room(path):
    """The part of the house a file belongs to: its first name below darkjax/."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_used(path):
    """The rooms a file imports, its own left out."""
    package = ".".join(("darkjax", *path.relative_to(PACKAGE).parent.parts))
    names = [n.split(".") for n in imports(parse(path), package)]
    return {n[1] for n in names if n[0] == "darkjax" and len(n) > 1} - {room(path), "__version__"}


def forbidden(name):
    """The rooms that a room must not import."""
    never = {"main"}
    if name in CHAIN:
        never |= set(CHAIN[CHAIN.index(name) :]) - {name}
    if name in ("ops", "models", "methods", "data", "weights", "losses", "metrics", "writers"):
        never |= set(CONSUMERS) | {"train"}
    if name in ("data", "ops", "models", "losses", "metrics", "writers"):
        never |= {"methods"}
    if name in ("data", "losses", "metrics", "writers"):
        never |= {"ops", "models"}
    if name in ("ops", "models", "methods", "losses", "metrics", "writers"):
        never |= {"data"}
    return never - {name}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    found = rooms_used(path) & forbidden(room(path))
    assert not found, f"{path.relative_to(ROOT)} must not import darkjax.{found}"


PURE = [PACKAGE / "metrics.py", *sorted((PACKAGE / "losses").glob("*.py"))]


@pytest.mark.parametrize("path", PURE, ids=lambda p: p.stem)
def test_losses_and_metrics_know_only_arrays_and_the_error(path):
    used = {n for n in imports(parse(path), "darkjax") if not n.startswith("darkjax.losses")}
    allowed = sys.stdlib_module_names | {"jax", "numpy", "jaxtyping"}
    assert {n for n in used if n.split(".")[0] not in allowed} <= {
        "darkjax.errors",
        "darkjax.errors.UserError",
    }


def at_import_time(tree):
    """The statements that run when a module is imported: not the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from at_import_time(node)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_heavy_framework_at_import_time(path):
    heavy = {"tensorflow", "torch", "tensorflow_datasets", "cv2", "scipy"}
    if room(path) == "data":
        heavy |= {"jax", "flax", "grain", "av", "PIL"}  # decoding workers start without them
    found = set()
    for node in at_import_time(parse(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {n.split(".")[0] for n in imports(node, "darkjax")}
    assert not found & heavy


def test_the_walk_sees_what_it_should():
    source = (
        "import a.b\nfrom . import c\nfrom ..d import e\n"
        "try:\n    import torch\nexcept ImportError: pass\n"
        "def f():\n    import cv2\n"
    )
    names = set(imports(ast.parse(source), "darkjax.data"))
    assert {"a.b", "darkjax.data.c", "darkjax.d", "torch", "cv2"} <= names
    top = {
        n
        for node in at_import_time(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for n in imports(node, "darkjax.data")
    }
    assert "torch" in top and "cv2" not in top


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
