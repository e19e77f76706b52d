"""The documentation site leaves nothing out, and its links lead somewhere; without mkdocs."""

import importlib.util
import pathlib
import re

import pytest
import yaml

from darkjax import verbs

ROOT = pathlib.Path(__file__).resolve().parents[1]
WRITTEN = [*sorted((ROOT / "docs").glob("*.md")), *map(ROOT.joinpath, (
    "README.md", "CHANGELOG.md", "launch/README.md", "darkjax/box/README.md"))]  # fmt: skip


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site():
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))


def test_the_api_has_every_module_once(pages):
    found = re.findall(r"^::: (\S+)$", "\n".join(pages.api().values()), flags=re.MULTILINE)
    files = [p.relative_to(ROOT) for p in (ROOT / "darkjax").rglob("*.py")]
    modules = [".".join(p.with_suffix("").parts).removesuffix(".__init__") for p in files]
    assert sorted(found) == sorted(m for m in modules if "._" not in m)
    assert len(found) > 200 and "darkjax.data.records" in found and "darkjax.loaded" in found


def test_the_contents_name_every_page_once(pages, site):
    written = [p.name for p in (ROOT / "docs").glob("*.md")]
    every = [*written, *pages.made()]
    nav = pages.whole(site["nav"], every)
    assert sorted(pages.named(nav)) == sorted(every)


def test_a_page_that_appears_is_taken(pages, site):
    nav = pages.whole(site["nav"], ["new.md", "api/darkjax.new.md"])
    assert {"More": ["new.md"]} in nav and {"API": [{"darkjax.new": "api/darkjax.new.md"}]} in nav


def test_links_lead_to_files():
    for paper in WRITTEN:
        text = paper.read_text("utf-8")
        text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text):
            assert (paper.parent / target).exists(), f"{paper.name}: no {target}"


def test_links_lead_to_pages(pages):
    text = (
        "[a](docs/data.md#tables) [b](launch/) [c](configs/dtcm_arid.py) [d](https://e.org) [f](#g)"
    )
    assert pages.relinked(text, "README.md") == (
        "[a](data.md#tables) [b](pods.md) [c](configs/dtcm_arid.md) [d](https://e.org) [f](#g)"
    )
    text = "[a](../configs/dtcm_arid.py) [b](../README.md) [c](data.md) [d](gone.md)"
    assert pages.relinked(text, "docs/dinet.md") == (
        "[a](configs/dtcm_arid.md) [b](index.md) [c](data.md) [d](gone.md)"
    )
    assert pages.relinked("[a](../docs/data.md)", "notebooks/x.ipynb") == "[a](../data.md)"


def test_the_words_of_the_docs_are_verbs():
    known, found = verbs.verbs(), set()
    for paper in WRITTEN:
        text = paper.read_text("utf-8")
        found |= {
            (paper.name, word)
            for word in re.findall(r"(?:`|^ {4})darkjax ([a-z][\w.]+)", text, flags=re.MULTILINE)
        }
    assert len(found) > 8
    assert not {(page, word) for page, word in found if word not in known}
