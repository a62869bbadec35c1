"""A run folder: what a study leaves, and how a new run begins; the same in a simulation and on a server.

runs/<study>-<time>/
    study.yaml          as resolved
    initial.safetensors the model that the study starts from, where it names one
    sites.json          of a simulation: the sites on this machine
    conditions.json     of a simulation: malicious sites; hospital-times.json: how fast each hospital is
    central.secret      of the noise of central privacy; nobody but the owner may read it
    events.jsonl        what happened, line by line
    arms/<arm>/         progress, model and figures of every model trained
    sites/<site>/       of a simulation: what never leaves a hospital: maps, people's figures, personal parts, log
    model.safetensors   the federated model
    calibration.safetensors normal voxels that p-values of its maps compare with, where people are held out
    metrics.json        all figures
    statistics.json     of a run that asks for the cohorts in figures and trains nothing; statistics.html: as a page
    report.html         what was found; privacy.html: what is promised to patients, and what is not
    privacy-audit.json  what attackers reached, where the run was audited
    tables/ figures/    the same for a paper: CSV and LaTeX, SVG and PNG; of single patients in patients/ of both
    maps/               of a simulation: anomaly maps as NIfTI, linked from the sites' folders
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.foundation import digests, plain_yaml
from normfed_common.foundation.errors import RunError, StudyError
from normfed_common.foundation.files import is_utf8, write_json, write_text
from normfed_common.studies import DIGEST, study_of_run
from normfed_common.study.config import StudyConfig
from normfed_server.state.notes import COHORTS, OPTIONS

ARMS = "arms"
TABLES, FIGURES = "tables", "figures"
PATIENTS = "patients"  # in both, of a simulation alone: what is of single people
INITIAL, PRIVACY, REPORT = "initial.safetensors", "privacy.html", "report.html"


@dataclass(frozen=True)
class Run:
    """An open run folder."""

    folder: Path
    study: StudyConfig

    @property
    def sites_file(self) -> Path:
        """Configurations of the sites, in the order of their partitions."""
        return self.folder / "sites.json"

    @property
    def begun(self) -> bool:
        """Whether there is something to go on with."""
        return begun(self.folder) or self.finished

    @property
    def finished(self) -> bool:
        """Whether all figures are there."""
        return (self.folder / (COHORTS if counts_only(self.folder) else "metrics.json")).exists()


def begun(folder: Path) -> bool:
    """Whether a model has been trained for a round."""
    return any((folder / ARMS).glob("*/progress.safetensors"))


def counts_only(folder: Path) -> bool:
    """Whether a run asks for statistics of the cohorts, and trains nothing."""
    try:
        return bool(json.loads((folder / OPTIONS).read_text(encoding="utf-8")).get("statistics", False))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(f"{folder / OPTIONS}: damaged ({error}). Remove it, and begin a new run.") from error


def begin(study: StudyConfig, out: Path, options: Mapping[str, bool] | None = None) -> Run:
    """Make the run folder ``out/<study>-<time>`` and write the resolved study, and how the run is started.

    Raises
    ------
    StudyError
        If its initial model cannot be used; then there is no folder.
    RunError
        If the folder cannot be made.
    """
    check_initial_model(study)
    return begin_in(study, new_folder(out, study.name), options)


def new_folder(out: Path, name: str) -> Path:
    """Make ``out/<name>-<time>``.

    Raises
    ------
    RunError
        If it cannot be made, or a run's files could not name it.
    """
    if not is_utf8(out):
        raise RunError(
            f"{out}: the path is not UTF-8, in which a run's files hold it. Choose another folder with --out."
        )
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for attempt in itertools.count():
        folder = out / (f"{name}-{stamp}" + (f"-{attempt}" if attempt else ""))
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(f"{folder}: cannot be made ({error.strerror}). Choose another folder with --out.") from error
    return folder


def begin_in(study: StudyConfig, folder: Path, options: Mapping[str, bool] | None = None) -> Run:
    """Write the resolved study, and how the run is started, into ``folder``, which is the run folder from here on."""
    folder.mkdir(parents=True, exist_ok=True)
    if study.initial_model is not None:
        study = _with_initial_model(study, folder)
    if options:
        write_json(folder / OPTIONS, dict(options))
    write_text(folder / "study.yaml", plain_yaml.text(study.model_dump(mode="json")))
    return Run(folder, study)


def _with_initial_model(study: StudyConfig, folder: Path) -> StudyConfig:
    """Copy the initial model into the run folder; from here on the study knows its digest, not its path."""
    shutil.copyfile(str(study.initial_model), folder / INITIAL)
    return study.model_copy(update={"initial_model": DIGEST + digests.of_file(folder / INITIAL)})


def check_initial_model(study: StudyConfig) -> None:
    """Refuse a study whose initial model cannot be used.

    Raises
    ------
    StudyError
        If it is no file, damaged, or not finite.
    """
    if study.initial_model is None:
        return
    path = Path(study.initial_model)
    if not path.is_file():
        raise StudyError(f"initial_model: {path} is not a file. Give a model.safetensors.")
    arrays = named.load(path, foreign=True)
    if any(not np.isfinite(array).all() for array in arrays.values()):
        raise StudyError(f"initial_model: {path} holds values that are not finite.")


def refuse_links(folder: Path, *names: str) -> None:
    """Refuse to write into a run folder, perhaps somebody else's, in which a link would take what is written, appended
    or removed elsewhere.

    Parameters
    ----------
    names
        Of the folders in it that are written to; without any, all that it holds.

    Raises
    ------
    RunError
        If there is a link.
    """
    for top in [folder / name for name in names] or [folder]:
        if names and top.is_symlink():
            raise _leads_elsewhere(top)
        for parent, folders, files in os.walk(top):
            for path in (Path(parent) / name for name in (*folders, *files)):
                if path.is_symlink():
                    raise _leads_elsewhere(path)


def _leads_elsewhere(link: Path) -> RunError:
    return RunError(
        f"{link}: is a link to {os.readlink(link)}, where nothing of a run is written to. Put what it points to in its "
        "place, or remove it."
    )


def reopen(folder: Path) -> Run:
    """Open a run folder.

    Raises
    ------
    RunError
        If it is not one.
    """
    return Run(folder, study_of_run(folder))
