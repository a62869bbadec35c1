"""What mkdocs asks while it builds the site: lists from the code, notebooks as pages, links into the repository."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from normfed_deploy.documentation import (
    command_line,
    errors,
    frames_of_runs,
    measured,
    notebooks,
    public,
    registered,
    repository,
    study_keys,
)

MARK = re.compile(r"^<!-- made: ([a-z-]+) -->\n(?:\*.*\*\n)?", re.MULTILINE)  # and the line that stands in for it
NOTEBOOKS = "notebooks"  # folder of the guides
SECTION = "Notebooks"  # of the navigation


def lists(guides: Path) -> Mapping[str, Callable[[], str]]:
    """What a page can ask for by its mark, ``<!-- made: models -->``."""
    return {
        "study-keys": study_keys.tables,
        "models": registered.models,
        "one-class-scores": registered.scores,
        "transforms": registered.transforms,
        "strategies": registered.strategies,
        "splits": registered.splits,
        "datasets": registered.datasets,
        "metrics": measured.metrics,
        "glossary": measured.glossary,
        "further-words": measured.further_words,
        "codes": lambda: errors.codes(guides),
        "commands": command_line.pages,
        "frames": frames_of_runs.columns,
        "metrics-json": frames_of_runs.keys_of_metrics,
        "package": public.package,
        "for-plugins": public.for_plugins,
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Notebooks get their places in the navigation, by the title that each gives itself."""
    found = sorted((Path(config.docs_dir) / NOTEBOOKS).glob("*.ipynb"))
    entries = [{notebooks.read(path).title: f"{NOTEBOOKS}/{path.stem}.md"} for path in found]
    config.nav = _with_notebooks(config.nav or [], entries)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebooks' pages, and the files of the repository to which pages link."""
    guides = Path(config.docs_dir)
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(file)
        page = notebooks.read(guides / file.src_uri)
        files.append(File.generated(config, file.src_uri.replace(".ipynb", ".md"), content=page.markdown))
        for name, picture in page.pictures.items():
            files.append(File.generated(config, f"{NOTEBOOKS}/{name}", content=picture))
    pages = {repository.GUIDES / file.src_uri: file.content_string for file in files.documentation_pages()}
    for place, path in repository.outside(guides.parents[1], pages).items():
        beside = File.generated(config, str(place), abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
        files.append(beside)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its lists made and its links as they are on the site."""
    made = lists(Path(config.docs_dir))
    linked = repository.rewritten(markdown, repository.origin(PurePosixPath(page.file.src_uri)))
    return MARK.sub(lambda mark: made[mark[1]](), linked)


def _with_notebooks(pages: list[Any], entries: list[dict[str, str]]) -> list[Any]:
    """The same navigation, its section of notebooks filled; none where there is no notebook."""
    filled = []
    for page in pages:
        if isinstance(page, dict):
            [(title, within)] = page.items()
            filled.append({title: _with_notebooks(within, entries) if isinstance(within, list) else within})
        elif page != SECTION:
            filled.append(page)
        elif entries:
            filled.append({SECTION: entries})
    return filled
