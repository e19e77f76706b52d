"""Pages of the site that are made and not written, a hook of mkdocs.yml: README as the first page,
the API by package, each config, each notebook. A link to a file of the repository leads to that
file's page.
"""

from __future__ import annotations

import json
import pathlib
import posixpath
import re
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
FIXED = {
    "README.md": "index.md",
    "launch/README.md": "pods.md",
    "CHANGELOG.md": "changelog.md",
    "darkjax/box/README.md": "box.md",
}
REST = "More"  # where a page stands that mkdocs.yml does not name


def page_of(path: str) -> str | None:
    """The page of a file of the repository, None where it has none."""
    if path in FIXED:
        return FIXED[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if re.fullmatch(r"(configs/\w+\.py|notebooks/\w+\.ipynb)", path):
        return path.rpartition(".")[0] + ".md"
    return None


def relinked(text: str, source: str) -> str:
    """The links of a file of the repository, as its page has them."""
    here = posixpath.dirname(source)
    own = page_of(source)
    assert own is not None, source

    def page(found: re.Match[str]) -> str:
        target, mark, anchor = found[1].partition("#")
        path = posixpath.normpath(posixpath.join(here, target))
        path = path + "/README.md" if (ROOT / path).is_dir() else path
        there = page_of(path) if (ROOT / path).is_file() else None
        if there is None:
            return found[0]
        return "](" + posixpath.relpath(there, posixpath.dirname(own)) + mark + anchor + ")"

    return re.sub(r"\]\((?!\w+:|#)([^)\s]+)\)", page, text)


def api() -> dict[str, str]:
    """A page for each package, with every module of it that is not private."""
    pages = {}
    for package in sorted(p.parent for p in (ROOT / "darkjax").rglob("__init__.py")):
        name = ".".join(package.relative_to(ROOT).parts)
        modules = [name, *(f"{name}.{p.stem}" for p in sorted(package.glob("*.py")) if public(p))]
        pages[f"api/{name}.md"] = f"# {name}\n\n" + "\n\n".join(f"::: {m}" for m in modules) + "\n"
    return pages


def public(module: pathlib.Path) -> bool:
    return not module.stem.startswith("_")


def config(path: pathlib.Path) -> str:
    text = path.read_text("utf-8")
    return f"# configs/{path.name}\n\n```python\n{text}```\n"


def notebook(path: pathlib.Path) -> str:
    """Its cells; outputs are not kept in the repository."""
    cells = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        text = "".join(cell["source"]).strip()
        cells.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join([*cells, f"The notebook: `notebooks/{path.name}`.\n"])


def made() -> dict[str, str]:
    """Text by page."""
    pages = {page: relinked((ROOT / path).read_text("utf-8"), path) for path, page in FIXED.items()}
    pages |= api()
    for path in sorted((ROOT / "configs").glob("*.py")):
        pages[f"configs/{path.stem}.md"] = config(path)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text = relinked(notebook(path), f"notebooks/{path.name}")
        pages[f"notebooks/{path.stem}.md"] = text
    return pages


def named(nav: Any) -> list[str]:
    """The pages of a `nav` of mkdocs.yml."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in named(part)]


def whole(nav: list[Any], pages: list[str]) -> list[Any]:
    """`nav` with a section for each folder of pages, and one for those it does not name."""
    there = named(nav)
    left = [page for page in pages if page not in there]
    sections = {"API": "api", "Configs": "configs", "Notebooks": "notebooks"}
    rest = [page for page in left if page.partition("/")[0] not in sections.values()]
    nav = [*nav, *([{REST: rest}] if rest else [])]
    for title, folder in sections.items():
        own = [page for page in left if page.startswith(f"{folder}/")]
        nav.append({title: [{pathlib.PurePath(page).name[:-3]: page} for page in own]})
    return nav


def on_config(config: Any) -> Any:
    hand = [p.name for p in sorted(pathlib.Path(config.docs_dir).glob("*.md"))]
    config.nav = whole(config.nav, hand + list(made()))
    return config


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for page, text in made().items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if page.file.generated_by is not None:
        return markdown
    return relinked(markdown, f"docs/{page.file.src_uri}")
