"""Which models stand in a paper's tables and figures, in what order, and what readers call them."""

from __future__ import annotations

from normfed_common.algorithms.arms import FEDERATED, OWN, POOLED
from normfed_server.report.lesions import FEWEST_PATIENTS
from normfed_server.report.verdicts import main_models
from normfed_server.results.layout import AUROC, PRECISION, Interval, RunResults
from normfed_server.results.models import BORROWED, UNSEEN

ANCHORS = (OWN, POOLED, UNSEEN, BORROWED)
CHIEF = (PRECISION, AUROC)  # metrics that have tables and figures of their own, the first before the second


def shown(results: RunResults) -> list[str]:
    """The models of the main table: all but other strategies, which are in the league."""
    return list(main_models(results))


def baselines(results: RunResults) -> list[str]:
    """The models that the study's own is to be worth its effort beside, the best first."""
    found = [name for name in shown(results) if name not in (FEDERATED, *ANCHORS)]
    return sorted(found, key=lambda name: -(mean(results, name, CHIEF[0]) or 0.0))


def principal(results: RunResults) -> list[str]:
    """The few that fit beside each other: the federated model, each site alone, pooled, and the best baseline."""
    anchors = [name for name in (FEDERATED, OWN, POOLED) if name in results.evaluation]
    return [*anchors, *baselines(results)[:1]]


def looks(results: RunResults) -> dict[str, int]:
    """The number of every model's colour and marker: the same in all figures of a run."""
    return {name: number for number, name in enumerate([FEDERATED, OWN, POOLED, *baselines(results)])}


def mean(results: RunResults, name: str, metric: str) -> float | None:
    """Over all patients; None where no site may say it."""
    figure = results.evaluation[name].all.get(metric)
    return None if figure is None else figure.mean


def chief(results: RunResults) -> list[str]:
    """Of `CHIEF` those of which the federated model has figures."""
    ours = results.evaluation.get(FEDERATED)
    return [metric for metric in CHIEF if ours is not None and metric in ours.all]


def told(ends: Interval | None, patients: int) -> Interval | None:
    """An interval over patients; None over so few that it says nothing."""
    return ends if patients >= FEWEST_PATIENTS else None
