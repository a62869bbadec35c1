"""The federated model less every other one as a data frame, with what each difference is worth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from normfed_common.algorithms.arms import FEDERATED
from normfed_server.report.gains import judgement
from normfed_server.results.figures import ModelFigures
from normfed_server.results.frames import METRIC, Columns, ends, framed
from normfed_server.results.layout import RunResults

if TYPE_CHECKING:
    import pandas

ALL = "all"
GAINS: Columns = {
    "other": (str, "the model that is taken off the federated one"),
    "group": (str, "all, site or kind"),
    "name": (str, "of the site or the kind of lesion; all for all patients"),
    **METRIC,
    "mean": (float, "difference of the means, the federated model less the other"),
    "low": (float, "lower end of its 95 % interval"),
    "high": (float, "upper end of it"),
    "n": (int, "patients with a figure by both models; of runs of an older version, of the federated model's mean"),
    "p": (float, "of the paired Wilcoxon test, Holm-corrected: over all patients of a simulation"),
    "verdict": (str, "the report's, of the federated model over all patients: better, worse, tied or too few"),
}


def gains(results: RunResults) -> pandas.DataFrame:
    """The federated model less every other one, the columns of `GAINS`."""
    return framed(_rows(results), GAINS)


def _rows(results: RunResults) -> Iterator[dict[str, Any]]:
    ours = results.evaluation.get(FEDERATED)
    for other, found in results.differences.items():
        for group, by_name in ((ALL, {ALL: found.all}), ("site", found.sites), ("kind", found.kinds)):
            for name, by_metric in by_name.items():
                for metric, difference in by_metric.items():
                    place = {"other": other, "group": group, "name": name, "metric": metric}
                    n = _patients(ours, group, name, metric) if difference.n is None else difference.n
                    row = {**place, "n": n, "mean": difference.mean}
                    yield {**row, **ends(difference.ci95), **(_worth(results, other, metric) if group == ALL else {})}


def _worth(results: RunResults, other: str, metric: str) -> dict[str, Any]:
    found = judgement(results, other, metric)
    return {} if found is None else {"p": found.p, "verdict": found.verdict}


def _patients(model: ModelFigures | None, group: str, name: str, metric: str) -> int | None:
    if model is None:
        return None
    by_name = {ALL: {ALL: model.all}, "site": model.sites, "kind": model.kinds}[group]
    figure = by_name.get(name, {}).get(metric)
    return figure.n if figure is not None else None
