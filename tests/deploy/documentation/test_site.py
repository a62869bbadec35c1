"""The site, built as `make docs` builds it: nothing from elsewhere, every link leads somewhere, nothing is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import normfed
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.cli import COMMANDS
from normfed_common.foundation.errors import SiteCode
from normfed_common.foundation.registry import Registry
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.models.catalogue import MODELS
from normfed_common.scoring.catalogue import SCORERS
from normfed_common.study.config import StudyConfig
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_simulation.datasets.catalogue import DATASETS
from normfed_simulation.splits.catalogue import SPLITS

pytestmark = pytest.mark.xdist_group("documentation")  # the site is built once

CONFIG = Path(__file__).parents[3] / "deploy" / "mkdocs.yml"
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href"), ("video", "src")}


class Document(HTMLParser):
    """A page: its anchors, its links, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See `HTMLParser`."""
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif tag == "a" and name == "href" and value:
                self.links.append(value)
            elif (tag, name) in LOADED and value and ("rel", "canonical") not in attrs:
                self.loaded.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Document]:
    """Every page by its place; a warning of mkdocs is an error."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(CONFIG), site_dir=str(folder)))
    return {str(path.relative_to(folder)): Document(path) for path in sorted(folder.rglob("*.html"))}


def test_every_page_of_the_guides_is_a_page_of_the_site(site: dict[str, Document]) -> None:
    guides = CONFIG.parent / "guides"
    pages = {
        str(path.relative_to(guides).with_suffix(".html"))
        for path in guides.rglob("*")
        if path.suffix in {".md", ".ipynb"}
    }
    assert len(pages) > 30
    assert pages <= site.keys()


def test_nothing_is_loaded_from_elsewhere(site: dict[str, Document]) -> None:
    loaded = {url for document in site.values() for url in document.loaded}
    assert len(loaded) > 10
    assert [url for url in loaded if urlsplit(url).netloc] == []
    styles = [path.read_text() for path in site["index.html"].path.parent.rglob("*.css")]
    assert len(styles) > 2
    assert [style for style in styles if re.search(r"@import|url\(.?(?:https?:)?//", style)] == []


def test_every_link_and_every_anchor_leads_somewhere(site: dict[str, Document]) -> None:
    root = site["index.html"].path.parent
    assert [
        lost for document in site.values() if document.path.name != "404.html" for lost in _lost(document, root, site)
    ] == []


def _lost(document: Document, root: Path, site: dict[str, Document]) -> Iterator[str]:
    for link in [*document.links, *document.loaded]:
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (document.path.parent / unquote(parts.path)).resolve() if parts.path else document.path
        page = site.get(str(target.relative_to(root)))
        if not target.exists() or (page and parts.fragment and unquote(parts.fragment) not in page.anchors):
            yield f"{document.path.relative_to(root)}: {link}"


def _paths(schema: dict[str, Any], definitions: dict[str, Any], before: str = "") -> Iterator[str]:
    """Every key of a JSON schema by its path."""
    for name, value in schema.get("properties", {}).items():
        yield before + name
        for inner, marks in _objects(value, definitions, ""):
            yield from _paths(inner, definitions, f"{before}{name}{marks}.")


def _objects(schema: dict[str, Any], definitions: dict[str, Any], marks: str) -> Iterator[tuple[dict[str, Any], str]]:
    if "$ref" in schema:
        yield definitions[schema["$ref"].rpartition("/")[2]], marks
    for inner in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _objects(inner, definitions, marks)
    if isinstance(schema.get("items"), dict):
        yield from _objects(schema["items"], definitions, f"{marks}[]")


def test_every_key_of_a_study_is_in_the_reference(site: dict[str, Document]) -> None:
    schema = StudyConfig.model_json_schema()
    keys = set(_paths(schema, schema["$defs"]))
    assert {"federation.rounds", "data.phantom.sites[].controls", "privacy.secure_aggregation.noise"} < keys
    assert keys - site["reference/study.html"].anchors == set()


@pytest.mark.parametrize(
    ("page", "registry", "prefix"),
    [
        ("models", MODELS, ""),
        ("models", SCORERS, "fit_on-"),
        ("transforms", TRANSFORMS, ""),
        ("strategies", ALGORITHMS, ""),
        ("splits", SPLITS, ""),
        ("datasets", DATASETS, ""),
    ],
    ids=["models", "scores", "transforms", "strategies", "splits", "datasets"],
)
def test_everything_that_a_study_can_name_is_in_the_reference(
    site: dict[str, Document], page: str, registry: Registry[Any], prefix: str
) -> None:
    names = {f"{prefix}{name}" for name in registry if registry.origin(name) is None}
    assert len(names) > 2
    assert names - site[f"reference/{page}.html"].anchors == set()


def test_every_metric_and_every_code_is_in_the_reference(site: dict[str, Document]) -> None:
    assert {metric.name for metric in BUILT_IN} - site["reference/metrics.html"].anchors == set()
    assert {code.name for code in SiteCode} - site["reference/errors.html"].anchors == set()


def test_every_command_is_in_the_reference(site: dict[str, Document]) -> None:
    commands = {f"normfed-{name}" for name in COMMANDS if COMMANDS.origin(name) is None}
    assert {"normfed-simulate", "normfed-site"} < commands
    assert commands - site["reference/command-line.html"].anchors == set()


def test_every_public_name_is_in_the_reference(site: dict[str, Document]) -> None:
    named = {anchor.rpartition(".")[2] for anchor in site["reference/python.html"].anchors}
    assert {name for name in normfed.__all__ if not name.startswith("__")} - named == set()
