"""Who imports whom, read from the code itself: nothing points up, nothing goes in a circle."""

import ast
import pathlib
import sys

import pytest

IMPORTS = (ast.Import, ast.ImportFrom)
ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "darkjax"

# What every room may use; these use nothing but one another.
BASE = {
    "architectures", "channels", "checksums", "closing", "compilation", "errors", "files", "heap",
    "lock", "nearest", "npy", "program", "version",
}  # fmt: skip
# Rooms that know little: what each may use besides.
LOW = {
    "data": set(),
    "losses": set(),
    "metrics": set(),
    "ops": set(),
    "loggers": set(),
    "writers": {"loggers"},
    "models": {"ops"},
    "methods": {"ops", "models", "losses"},
    "weights": {"models", "methods", "optim", "checkpoint"},
}
# A program of a low room that works with a room above it; nobody before the loop's end imports it,
# so that neither the pipeline nor the decoding workers meet what it uses.
PROGRAMS = {"darkjax.data.flow": {"ops"}}
# What the package itself offers by name, imported when it is asked for.
DOOR = {"darkjax": {"loaded"}}
# Everything else in `darkjax/` belongs to the loop, and these come after it, each after the last.
HIGH = [
    {"eval"},
    {"judge", "preflight", "run_data", "experiment", "live", "loaded", "timeline"},
    {"sweeps"},
    {"tools"},
    {"main", "__main__"},
]


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(tree, package):
    """(module, name or None) of every import, also inside functions; `package` is for dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            up = parts[: len(parts) + 1 - node.level] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            yield from ((base, alias.name) for alias in node.names)


def graph_of(package):
    """module -> the modules of the package that it imports.

    A package's `__init__.py` counts where a name of its own is asked for, not where it is merely
    passed on the way to a file in it. What a table imports by a name when it is asked for is not
    seen: LIFT-Net is in the table of networks, and makes its own backbones from it.
    """
    files = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {}
    for module, path in files.items():
        inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found = {
            f"{base}.{name}" if f"{base}.{name}" in files else base
            for base, name in imports(tree_of(path), inside)
        }
        graph[module] = (found & set(files)) - {module}
    return graph


def circle(graph):
    """Modules each of which imports the next, the last the first; [] where there are none."""
    done = set()

    def search(module, way):
        if module in way:
            return way[way.index(module) :]
        if module not in done:
            done.add(module)
            for other in sorted(graph[module]):
                if found := search(other, [*way, module]):
                    return found
        return []

    return next((found for module in graph if (found := search(module, []))), [])


def room(module):
    """The first name below the package."""
    return module.split(".")[1] if "." in module else ""


def level(name):
    """The place of a room that may use the loop."""
    return next((i for i, names in enumerate(HIGH, start=1) if name in names), 0)


def may(one, other):
    """Whether a file of one room may import from another."""
    if one == other or other in BASE or not other:
        return True
    if one in BASE:
        return False
    if one in LOW:
        return other in LOW[one]
    return other in LOW or level(other) <= level(one)


GRAPH = graph_of(PACKAGE)


def test_imports_point_down():
    wrong = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in sorted(others)
        if not may(room(module), room(other))
        and room(other) not in (PROGRAMS | DOOR).get(module, ())
    ]
    assert not wrong, "\n".join(wrong)
    # What comes after the loop may start them.
    used = {other for one, others in GRAPH.items() if not level(room(one)) for other in others}
    assert not used & PROGRAMS.keys()


def test_no_import_goes_in_a_circle():
    assert not circle(GRAPH), " -> ".join(circle(GRAPH))


def test_rooms_are_there():
    assert BASE | set(LOW) | set().union(*HIGH) <= {room(module) for module in GRAPH}


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        ("ops", "models", False),
        ("models", "methods", False),
        ("methods", "train", False),
        ("methods", "data", False),
        ("data", "ops", False),
        ("losses", "ops", False),
        ("weights", "train", False),
        ("errors", "data", False),
        ("train", "eval", False),
        ("a_new_file", "eval", False),
        ("eval", "experiment", False),
        ("tools", "main", False),
        ("train", "methods", True),
        ("eval", "train", True),
        ("main", "experiment", True),
        ("data", "files", True),
    ],
)
def test_who_may_import_whom(one, other, answer):
    assert may(one, other) is answer


def test_the_graph_has_what_is_imported_anywhere(tmp_path):
    package = tmp_path / "p"
    (package / "sub").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "a.py": "def f():\n    from p import b\n",
        "b.py": "import p.sub.c\n",
        "sub/__init__.py": "from p.sub import c\n",
        "sub/c.py": "from ..sub import y\nfrom ..a import f\nimport os\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    graph = graph_of(package)
    assert graph == {
        "p": set(),
        "p.a": {"p.b"},
        "p.b": {"p.sub.c"},
        "p.sub": {"p.sub.c"},
        "p.sub.c": {"p.sub", "p.a"},
    }
    assert circle(graph) == ["p.a", "p.b", "p.sub.c"]
    assert circle({"p.a": {"p.b"}, "p.b": set(), "p.c": {"p.a", "p.b"}}) == []


# ---------------------------------------------------------------- who knows which library


PURE = [PACKAGE / "metrics.py", *sorted((PACKAGE / "losses").glob("*.py"))]


@pytest.mark.parametrize("path", PURE, ids=lambda p: p.stem)
def test_losses_and_metrics_know_only_arrays_and_the_error(path):
    used = {base for base, _ in imports(tree_of(path), "darkjax")}
    ours = {base for base in used if base.startswith("darkjax.")}
    libraries = {base.split(".")[0] for base in used - ours}
    assert libraries <= sys.stdlib_module_names | {"jax", "numpy", "jaxtyping"}
    assert {base for base in ours if not base.startswith("darkjax.losses")} <= {"darkjax.errors"}


def at_import_time(tree):
    """The statements that run when a module is imported: not the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from at_import_time(node)


def test_no_heavy_framework_at_import_time():
    for path in sorted(PACKAGE.rglob("*.py")):
        heavy = {"tensorflow", "torch", "tensorflow_datasets", "cv2", "scipy"}
        if path.is_relative_to(PACKAGE / "data"):
            heavy |= {"jax", "flax", "grain", "av", "PIL"}  # decoding workers start without them
        top = [
            n for n in at_import_time(tree_of(path)) if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        found = {base.split(".")[0] for node in top for base, _ in imports(node, "darkjax")}
        assert not found & heavy, path


def test_what_a_function_imports_is_not_imported_with_its_module():
    tree = ast.parse("try:\n    import torch\nexcept ImportError: pass\ndef f():\n    import cv2\n")
    top = [n for n in at_import_time(tree) if isinstance(n, IMPORTS)]
    assert [alias.name for node in top for alias in node.names] == ["torch"]
