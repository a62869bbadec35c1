"""Strategies of a comparison: what each is to the study's own, by how much, and what they differ in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from normfed_server.report.verdicts import (
    OURS,
    REVERSED,
    SPOKEN,
    TITLES,
    Verdict,
    difference_of,
    figure_of,
    objection,
    same,
    unnoticed,
    verdict,
)
from normfed_server.report.words import counted, listed, number, signed
from normfed_server.results.enough import are_enough
from normfed_server.results.figures import PRECISION, Difference, LeagueRow
from normfed_server.results.layout import RunResults

HEADLINE: dict[Verdict, str] = {
    "better": "finds lesions better than",
    "worse": "finds lesions worse than",
    "tied": "is not distinguishable from",
    "too few": "was tested on too few patients to be told from",
}


@dataclass(frozen=True)
class Rival:
    """A strategy beside the study's own.

    Parameters
    ----------
    differs
        Its name and parameters, as a study says them.
    differences
        Metric to it less the study's own.
    verdicts
        Metric to what it is to the study's own.
    objections
        Metric to what the paired test has against a difference beyond its interval.
    """

    title: str
    differs: str
    differences: Mapping[str, Difference]
    verdicts: Mapping[str, Verdict]
    objections: Mapping[str, str]


def rivals(results: RunResults) -> list[Rival]:
    """Every strategy but the study's own, in the order of the league; none where nothing else was trained."""
    return [_rival(results, row) for row in results.league if row.strategy and row.name != OURS]


def comparison(results: RunResults) -> list[str]:
    """Which strategy finds lesions better, by how much, and what they differ in; nothing without a comparison."""
    own = next((row for row in results.league if row.name == OURS and row.strategy), None)
    others = rivals(results)
    figure = figure_of(results, OURS, PRECISION)
    if own is None or own.strategy is None or not others or figure is None:
        return []
    title = _short(own)
    few = f"Too few to say which strategy is better: {counted(figure.n, 'patient is', 'patients are')} no evidence."
    alone = listed([settings(own.strategy), *(of.differs for of in others)])
    return [
        *([_sentence(title, of) for of in others] if are_enough(figure.n) else [few]),
        f"They differ in this alone: {alone}. People, model, rounds and seed are the same; {title} reaches average "
        f"precision {number(figure.mean)}.",
    ]


def settings(strategy: Mapping[str, JsonValue]) -> str:
    """``ditto (lambda 0.1)``."""
    parameters = ", ".join(f"{key} {value}" for key, value in strategy.items() if key != "name" and value is not None)
    return f"{strategy['name']}{f' ({parameters})' if parameters else ''}"


def _rival(results: RunResults, row: LeagueRow) -> Rival:
    found = {metric: less for metric in TITLES if (less := difference_of(results, row.name, metric)) is not None}
    differences = {metric: _reversed(difference) for metric, difference in found.items()}
    verdicts = {metric: REVERSED[verdict(results, row.name, metric)] for metric in differences}
    against = {metric: objection(less, results.paired_test(row.name, metric)) for metric, less in found.items()}
    assert row.strategy is not None
    compression = row.name.partition("+")[2]
    differs = settings(row.strategy) + (f", messages as {compression}" if compression else "")
    return Rival(_short(row), differs, differences, verdicts, against)


def _reversed(difference: Difference) -> Difference:
    """The other less ours."""
    low, high = (None if end is None else -end for end in difference.ci95)
    mean = None if difference.mean is None else -difference.mean
    return Difference(mean=mean, n=difference.n, ci95=(high, low))


def _short(row: LeagueRow) -> str:
    return row.title.removesuffix(" (the study's own)")


def _sentence(own: str, of: Rival) -> str:
    """``Ditto is not distinguishable from FedAvg (average precision −0.029, 95 % interval −0.090 to +0.033).``"""
    difference = of.differences.get(PRECISION)
    if difference is None:
        return f"Too few patients were tested with both {of.title} and {own} to say which is better."
    if same(difference):
        return f"{of.title} is the same as {own}: no patient's figure differs."
    if difference.n is not None and not are_enough(difference.n):
        few = counted(difference.n, "patient was", "patients were")
        return f"Too few to say whether {of.title} is better than {own}: {few} tested with both."
    low, high = difference.ci95
    apart = f"{TITLES[PRECISION]} {signed(difference.mean)}, 95 % interval {signed(low)} to {signed(high)}"
    if unnoticed(difference):
        apart = f"{TITLES[PRECISION]} alike to three decimals"
    if but := of.objections[PRECISION]:
        apart += f", but {but}"
    found = of.verdicts[PRECISION]
    rest = "; ".join(f"{SPOKEN[word]} by {TITLES[metric]}" for metric, word in of.verdicts.items() if word != found)
    return f"{of.title} {HEADLINE[found]} {own} ({apart}{f'; {rest}' if rest else ''})."
