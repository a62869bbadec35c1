"""Which models stand in a paper's tables and figures, and in what order."""

from __future__ import annotations

from normfed_common.algorithms.arms import FEDERATED, OWN, POOLED
from normfed_server.report.verdicts import best_baseline, main_models, trivial
from normfed_server.results.figures import AUROC, PRECISION
from normfed_server.results.layout import RunResults

CHIEF = (PRECISION, AUROC)  # metrics that have tables and figures of their own, the first before the second


def shown(results: RunResults) -> list[str]:
    """The models of the main table: all but other strategies, which are in the league."""
    return list(main_models(results))


def principal(results: RunResults) -> list[str]:
    """The few that fit beside each other: the federated model, each site alone, pooled, and the best baseline."""
    anchors = [name for name in (FEDERATED, OWN, POOLED) if name in results.evaluation]
    best = best_baseline(results)
    return [*anchors, *([best] if best else [])]


def looks(results: RunResults) -> dict[str, int]:
    """The number of every model's colour and marker: the same in all figures of a run."""
    return {name: number for number, name in enumerate([FEDERATED, OWN, POOLED, *trivial(results)])}


def chief(results: RunResults) -> list[str]:
    """Of `CHIEF` those of which the federated model has figures."""
    ours = results.evaluation.get(FEDERATED)
    return [metric for metric in CHIEF if ours is not None and metric in ours.all]
