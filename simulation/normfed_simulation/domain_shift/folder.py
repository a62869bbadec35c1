"""The folder of a study of domain shift.

runs/<study>-<time>/
    domain-shift.yaml       the study as resolved, with its harmonizations
    data.json               the dataset, where it was given
    runs/<harmonization>/   an ordinary run folder each
    scanners/<harmonization>.json  what healthy people's scans tell of their scanner, and of their age
    domain-shift.json, domain-shift.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import inside, write_json, write_text
from normfed_common.studies import load_study
from normfed_common.study.config import StudyConfig
from normfed_server.runs.folder import Run, begin_in, check_initial_model, new_folder, refuse_links, reopen
from normfed_server.runs.folder import begun as has_begun
from normfed_simulation.domain_shift.harmonizations import Shift, planned
from normfed_simulation.run_folder import discarded_unless

STUDY, DATA, RUNS, SCANNERS = "domain-shift.yaml", "data.json", "runs", "scanners"


@dataclass(frozen=True)
class ShiftFolder:
    """An open folder of a study of domain shift."""

    path: Path
    shift: Shift

    @property
    def data(self) -> Path | None:
        """The dataset that it began with; None where the study has it made.

        Raises
        ------
        RunError
            If the folder does not say any more.
        """
        path = self.path / DATA
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["data"]
            return None if found is None else Path(found)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise RunError(
                f"{path}: cannot be read ({error}). Say with --data DIR where the dataset is; a study that has it made "
                'needs {"data": null} there.'
            ) from error

    @property
    def begun(self) -> bool:
        """Whether one of its runs has, so that there is something to go on with."""
        return any(map(has_begun, (self.path / RUNS).glob("*")))

    def run(self, harmonization: str) -> Run:
        """The run of a harmonization, which begins now if it has not yet.

        Raises
        ------
        RunError
            If there is the run of another study in its place, or one with links.
        """
        folder, study = self.run_folder(harmonization), self.shift.studies[harmonization]
        if not (folder / "study.yaml").exists():
            return begin_in(study, folder)
        refuse_links(folder)
        run = reopen(folder)
        expected = study.model_copy(update={"initial_model": run.study.initial_model})
        if run.study.digest != expected.digest:
            raise RunError(f"{folder}: holds the run of another study. Remove it, and resume.")
        return run

    def run_folder(self, harmonization: str) -> Path:
        """Where the run of a harmonization lies."""
        return inside(self.path, RUNS, harmonization)

    def scanners_file(self, harmonization: str) -> Path:
        """Where it is kept what scans tell of their scanner after a harmonization."""
        return inside(self.path, SCANNERS, f"{harmonization}.json")


def begin(study: StudyConfig, data: Path | None, out: Path) -> ShiftFolder:
    """Make the folder ``out/<study>-<time>``.

    Raises
    ------
    StudyError
        If the study is not one, or its initial model cannot be used; then there is no folder.
    RunError
        If the folder cannot be made.
    """
    check_initial_model(study)
    if study.initial_model is not None:
        study = study.model_copy(update={"initial_model": str(Path(study.initial_model).resolve())})
    shift = planned(study)
    path = new_folder(out, study.name)
    write_json(path / DATA, {"data": None if data is None else str(data.resolve())})
    write_text(path / STUDY, plain_yaml.text(shift.study.model_dump(mode="json")))
    return ShiftFolder(path, shift)


def resume(path: Path) -> ShiftFolder:
    """Open the folder of a study that was interrupted.

    Raises
    ------
    RunError
        If it is not one.
    """
    if not (path / STUDY).is_file():
        raise RunError(
            f"{path}: holds no {STUDY}, so it is not the folder of a study of domain shift. "
            "`normfed study domain-shift STUDY.yaml` makes one."
        )
    return ShiftFolder(path, planned(load_study(path / STUDY)))


@contextmanager
def discarded_if_refused(folder: ShiftFolder) -> Iterator[None]:
    """Within: a study that fails, is refused or stopped before one of its runs has begun leaves no folder."""
    with discarded_unless(folder.path, lambda: folder.begun):
        yield
