"""What a tracker of experiments is told of a run: its study, figures round by round and of the end, and its files.

No file is of single people, and no figure is of one person at a site or with a kind of lesion, unless somebody asks for
that of a simulated run. (Means over all patients with those of all sites but one still tell that one's.)
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.files import write_text
from normfed_common.metrics import calibration
from normfed_common.study.config import StudyConfig
from normfed_server.events.rounds import RoundFigures
from normfed_server.results import layout
from normfed_server.results.exporting import MODEL
from normfed_server.results.layout import RunResults
from normfed_server.results.paper_names import ours
from normfed_server.results.sharing import study_without_people, without_single_people
from normfed_server.runs.folder import ARMS, FIGURES, PATIENTS, PRIVACY, REPORT, TABLES, Run

Parameter = str | int | float | bool
STUDY = "study.yaml"
OF_EVERY_RUN = (STUDY, layout.FILE, PRIVACY, MODEL, calibration.FILE)


class Listener(Protocol):
    """Is told of a run."""

    def parameters(self, told: Mapping[str, Parameter]) -> None:
        """What the study says, once and first."""
        ...

    def scalars(self, told: Mapping[str, float], step: int, time_s: float | None) -> None:
        """Figures of a round.

        Parameters
        ----------
        time_s
            When it ended, in seconds since 1970; None where nobody knows.
        """
        ...

    def finals(self, told: Mapping[str, float]) -> None:
        """Figures of the whole run."""
        ...

    def artefacts(self, root: Path, paths: list[Path]) -> None:
        """Its files, all below ``root``."""
        ...


class Tracker(Listener, Protocol):
    """Takes a run in."""

    def close(self, whole: bool) -> None:
        """Nothing more is told; ``whole``: nothing is missing either."""
        ...


def parameters(study: StudyConfig) -> dict[str, Parameter]:
    """A study as one level of keys: ``federation.rounds``; what is not set is left out, and lists are JSON."""
    return dict(_flattened(study.model_dump(mode="json")))


def _flattened(table: Mapping[str, object], before: str = "") -> Iterator[tuple[str, Parameter]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{before}{key}.")
        elif isinstance(value, Parameter):
            yield f"{before}{key}", value
        elif value:
            yield f"{before}{key}", json.dumps(value)


def scalars(arm: str, entry: RoundFigures) -> dict[str, float]:
    """A round's figures, by what they are and the site; of other models than the federated one below its name."""
    model = "" if arm == FEDERATED else f"{arm}/"
    by_site: Mapping[str, Mapping[str, float | None]] = {
        "loss": entry.loss,
        "weight": entry.shares,
        "update_norm": entry.update_norms,
        "seconds": entry.site_seconds,
    }
    found = {f"{what}/{site}": value for what, told in by_site.items() for site, value in told.items()}
    found |= {"round/seconds": entry.seconds, "round/share_of_people": entry.share}
    found |= {"round/megabytes_out": entry.megabytes.out, "round/megabytes_back": entry.megabytes.back}
    found["round/sites"] = float(len(entry.shares)) if entry.shares else None
    return {f"{model}{name}": float(value) for name, value in found.items() if value is not None}


def rounds(results: RunResults) -> Iterator[tuple[str, RoundFigures]]:
    """Every round of every model."""
    for arm, history in {FEDERATED: results.rounds, **results.rounds_of}.items():
        for entry in history:
            yield arm, entry


def finals(results: RunResults) -> dict[str, float]:
    """Means over all patients, their intervals and the worst sites, as ``auroc/federated``, ``auroc_low/federated``."""
    found: dict[str, float | None] = {}
    for name, model in results.evaluation.items():
        for metric, figure in model.all.items():
            low, high = figure.ci95 or (None, None)
            found |= {f"{metric}/{name}": figure.mean, f"{metric}_low/{name}": low, f"{metric}_high/{name}": high}
        for metric, worst in model.worst_site.items():
            found[f"{metric}_worst_site/{name}"] = worst.mean
    return {name: value for name, value in found.items() if value is not None}


@contextmanager
def artefacts(run: Run, *, patients: bool) -> Iterator[tuple[Path, list[Path]]]:
    """The files of a run that are passed on, and the folder that they are below; both are there within.

    Parameters
    ----------
    patients
        Also those of single patients, which a simulation has; its report shows some.
    """
    results = layout.read(run.folder)
    told, study = without_single_people(results), study_without_people(run.study)
    if patients or (told is results and study is run.study):
        yield run.folder, _files(run, patients=patients)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder), _files(_copied(run, study, told, Path(folder)), patients=False)


def _files(run: Run, *, patients: bool) -> list[Path]:
    found = [run.folder / name for name in OF_EVERY_RUN]
    if patients or not run.sites_file.exists():
        found.append(run.folder / REPORT)
    found = [path for path in found if path.is_file()]
    for name in (TABLES, FIGURES):
        found += ours(run.folder / name, name)
        if patients:
            found += ours(run.folder / name / PATIENTS, name)
    return found


def _copied(run: Run, study: StudyConfig, told: RunResults, folder: Path) -> Run:
    """A run with this study, these figures and the same models, whose tables and figures are new; without report."""
    from normfed_server.paper.writing import write_paper  # pandas and matplotlib

    for name in OF_EVERY_RUN:
        if name not in (STUDY, layout.FILE) and (run.folder / name).is_file():
            shutil.copyfile(run.folder / name, folder / name)
    (folder / ARMS).symlink_to((run.folder / ARMS).resolve())
    layout.write(folder, told)
    write_text(folder / STUDY, plain_yaml.text(study.model_dump(mode="json")))
    copy = Run(folder, study)
    write_paper(copy)
    return copy
