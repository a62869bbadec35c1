"""Every metric, and the words of reports, as the report itself explains them."""

from __future__ import annotations

from collections.abc import Iterable

from normfed_common.citations.bibliography import references
from normfed_common.glossary import MORE, TERMS, Term
from normfed_common.metrics.base import SHARE, Metric
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_deploy.documentation.markdown import anchored, prose, table


def metrics() -> str:
    """Every metric that comes with normfed, in the order of tables."""
    return table(
        ("metric", "title", "range", "better", "chance", "needs", "what it says", "source"),
        (
            [
                anchored(metric.name),
                prose(metric.title),
                _range(metric),
                "higher" if metric.higher_is_better else "lower",
                "varies" if metric.chance is None else f"{metric.chance:g}",
                "ranks" if metric.needs == "scores" else "threshold",
                prose(metric.about),
                prose(references(metric.cited)),
            ]
            for metric in BUILT_IN
        ),
    )


def glossary() -> str:
    """The words of a report."""
    return _explained(TERMS)


def further_words() -> str:
    """Those of pages and commands."""
    return _explained(MORE)


def _explained(terms: Iterable[Term]) -> str:
    return "\n".join(f'<span id="{term.name}"></span>{prose(term.words)}\n:   {prose(term.text)}.\n' for term in terms)


def _range(metric: Metric) -> str:
    unit = "" if metric.unit == SHARE else f" {metric.unit}"
    return f"{metric.range}{unit}"
