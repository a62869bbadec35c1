"""The folder of a reproduction.

runs/<recipe>-<time>/
    recipe.json             the recipe as it was, its data, and whether these are made up
    arms/<arm>/             an ordinary run folder each
    segmentation/           of a recipe that segments brains instead
    reproduction.json, reproduction.md, reproduction.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import inside, write_text
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig
from normfed_common.study.validation import validate
from normfed_server.runs.folder import Run, begin_in, new_folder, refuse_links, reopen
from normfed_server.runs.folder import begun as has_begun
from normfed_simulation.reproduction.data import Folders
from normfed_simulation.reproduction.recipe import Recipe
from normfed_simulation.run_folder import discarded_unless
from normfed_simulation.segmentation.config import Federated

FILE, ARMS, SEGMENTATION = "recipe.json", "arms", "segmentation"
FEDERATED: dict[str, Federated] = {method: method for method in get_args(Federated)}


class Begun(Frozen):
    """What a folder was begun with."""

    name: str
    recipe: Recipe
    data: dict[str, tuple[str, ...]]
    look_alike: bool
    not_run: dict[str, str]
    federated: Federated | None


@dataclass(frozen=True)
class ReproductionFolder:
    """An open folder."""

    path: Path
    begun: Begun

    @property
    def folders(self) -> Folders:
        """The data, by role."""
        return {role: tuple(map(Path, places)) for role, places in self.begun.data.items()}

    @property
    def segmentation(self) -> Path:
        """Where the segmentation keeps its own."""
        return self.path / SEGMENTATION

    def run_folder(self, arm: str) -> Path:
        """Of an arm."""
        return inside(self.path, ARMS, arm)

    def run(self, arm: str, study: StudyConfig) -> Run:
        """The run of an arm, which begins now if it has not yet.

        Raises
        ------
        RunError
            If a run is there that cannot be taken up.
        """
        folder = self.run_folder(arm)
        if not (folder / "study.yaml").exists():
            return begin_in(study, folder)
        refuse_links(folder)
        return reopen(folder)


def begin(begun: Begun, out: Path) -> Path:
    """Make ``out/<name>-<time>``.

    Raises
    ------
    RunError
        If it cannot be made.
    """
    path = new_folder(out, begun.name)
    write_text(path / FILE, begun.model_dump_json(indent=1) + "\n")
    return path


def reopened(path: Path) -> ReproductionFolder:
    """Open a folder.

    Raises
    ------
    RunError
        If it is not one of a reproduction.
    """
    try:
        raw = json.loads((path / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RunError(
            f"{path}: holds no {FILE} that can be read, so it is not the folder of a reproduction. "
            "`normfed reproduce NAME --data ...` makes one."
        ) from None
    return ReproductionFolder(path, validate(Begun, raw, str(path / FILE), "what a reproduction remembers"))


@contextmanager
def discarded_if_refused(path: Path) -> Iterator[None]:
    """Within: what fails, is refused or stopped before any of its runs has begun leaves no folder."""
    with discarded_unless(path, lambda: begun(path)):
        yield


def begun(path: Path) -> bool:
    """Whether there is something to go on with."""
    return any(map(has_begun, path.glob(f"{ARMS}/*"))) or (path / SEGMENTATION).exists()
