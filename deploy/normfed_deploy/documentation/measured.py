"""Every metric, and the words of reports, as the report itself explains them."""

from __future__ import annotations

import re

from normfed_common.citations.bibliography import ELEMENTARY, OURS, entries
from normfed_common.metrics.base import SHARE, Metric
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_deploy.documentation.markdown import anchored, prose, table
from normfed_server.report.glossary import TERMS, by_metric

FIELD = re.compile(r"^\s*(author|year)\s*= \{(.+)\},?$", re.MULTILINE)


def metrics() -> str:
    """Every metric that comes with normfed, in the order of tables."""
    terms = by_metric()
    return table(
        ("metric", "title", "range", "better", "chance", "needs", "what it says", "source"),
        (
            [
                anchored(metric.name),
                prose(metric.title),
                _range(metric),
                "higher" if metric.higher_is_better else "lower",
                "by lesion" if metric.chance is None else f"{metric.chance:g}",
                "ranks" if metric.needs == "scores" else "threshold",
                prose(terms[metric.name].text) if metric.name in terms else "",
                ", ".join(map(published, metric.cited)),
            ]
            for metric in BUILT_IN
        ),
    )


def glossary() -> str:
    """The words of a report."""
    return "\n".join(f'<span id="{term.name}"></span>{prose(term.words)}\n:   {prose(term.text)}.\n' for term in TERMS)


def published(cited: str) -> str:
    """Who published what is cited, and when: ``McClish 1989``."""
    if cited in (ELEMENTARY, OURS):
        return cited
    fields = dict(FIELD.findall(entries()[cited]))
    first, *others = fields["author"].split(" and ")
    second = f" & {_surname(others[0])}" if len(others) == 1 else " et al." if others else ""
    return f"{_surname(first)}{second} {fields['year']}"


def _surname(author: str) -> str:
    return author.partition(",")[0].strip("{} ")


def _range(metric: Metric) -> str:
    unit = "" if metric.unit == SHARE else f" {metric.unit}"
    return f"{metric.lowest:g} to {metric.highest:g}{unit}"
