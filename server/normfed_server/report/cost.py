"""What privacy cost in detection: this run's figures beside those of the same study without it, where that was run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from normfed_common.foundation.errors import NormfedError
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import NONE
from normfed_server.report.verdicts import OURS, main_models
from normfed_server.results import layout
from normfed_server.results.figures import Figures
from normfed_server.results.layout import RunResults
from normfed_server.runs.folder import Run, reopen

NAMELESS = {"name": "any", "description": "", "privacy": NONE}


@dataclass(frozen=True)
class Row:
    """One model's figures over all patients."""

    title: str
    figures: Figures
    ours: bool = False


@dataclass(frozen=True)
class Cost:
    """See the module.

    Parameters
    ----------
    without
        The run folder's name of the same study without privacy; None where there is none beside this one.
    """

    rows: tuple[Row, ...]
    without: str | None


def cost(run: Run, results: RunResults) -> Cost:
    """The federated model, that of the same study without privacy, and what stands beside it in this run."""
    models = main_models(results)
    rows = [Row("this study", model.all, True) for name, model in models.items() if name == OURS]
    beside = without_privacy(run) if results.privacy is not None else None
    if beside is not None:
        found = layout.read(beside.folder).evaluation.get(OURS)
        rows += [Row("the same study without privacy", found.all)] if found is not None else []
    rows += [Row(results.title(name), model.all) for name, model in models.items() if name != OURS]
    return Cost(tuple(rows), beside.folder.name if beside is not None else None)


def without_privacy(run: Run) -> Run | None:
    """The latest finished run, in a folder beside this one's, of a study that differs by nothing but its privacy."""
    finished = sorted(run.folder.parent.glob(f"*/{layout.FILE}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in finished:
        other = _readable(path.parent) if path.parent != run.folder else None
        if other is not None and other.study.privacy == NONE and _nameless(other.study) == _nameless(run.study):
            return other
    return None


def _readable(folder: Path) -> Run | None:
    try:
        run = reopen(folder)
        layout.read(folder)
    except NormfedError:
        return None
    return run


def _nameless(study: StudyConfig) -> StudyConfig:
    return study.model_copy(update=NAMELESS)
