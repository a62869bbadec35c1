"""Better, worse, tied or too few: what the federated model is to another, by the same rules on the screen and the page.

Better and worse: beyond the 95 % interval over patients, in the digits that tables show, of six patients or more; in
each of several trainings beside each of the other's; and by the corrected paired test, its direction too, where single
patients are known, as in a simulation. Too few: fewer than six patients, or so few that this test's p could not be
below 0.05 even if all agreed. Everything else is a tie. The test is of whole models over all patients: of kinds of
lesion, and of hospitals that a model never saw, the interval alone decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from normfed_common.algorithms.arms import OWN, POOLED
from normfed_common.metrics.subjects import PairedTest
from normfed_server.report.words import number, p_value
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import AUROC, PRECISION, Difference, Figure, Figures, ModelFigures
from normfed_server.results.layout import RunResults
from normfed_server.results.league import SHOWN, beyond
from normfed_server.results.models import BORROWED, UNSEEN
from normfed_server.results.models import TITLES as MODEL_TITLES

OURS = "federated"
TITLES = {AUROC: "AUROC", PRECISION: "average precision"}  # what findings speak of
COMPARED = {
    POOLED: (f"training on {MODEL_TITLES[POOLED]}", "The pooled model is itself"),
    OWN: ("each site training alone", "The local models are themselves"),
}

SAME = "the same"
SIGNIFICANT = 0.05  # of a corrected p-value: from there on two models are not told apart, as with a 95 % interval
WITHIN = f"within ±{SHOWN:g}"  # what an interval is called that is zero at both ends in the digits of tables

Verdict = Literal["better", "worse", "tied", "too few"]
REVERSED: dict[Verdict, Verdict] = {"better": "worse", "worse": "better", "tied": "tied", "too few": "too few"}
UNDECIDED: tuple[Verdict, ...] = ("tied", "too few")
SPOKEN: dict[Verdict, str] = {  # beside other verdicts in a sentence
    "better": "better",
    "worse": "worse",
    "tied": "tied",
    "too few": "undecided, for want of patients,",
}


def main_models(results: RunResults) -> dict[str, ModelFigures]:
    """What the tables of results show: other strategies stand in the league table."""
    others = set(results.strategies) - {OURS}
    return {name: model for name, model in results.evaluation.items() if name not in others}


def title(results: RunResults) -> str:
    """What sentences call the federated model."""
    found = results.title(OURS)
    return "federated model" if found == OURS else found


def verdict(results: RunResults, other: str, metric: str) -> Verdict:
    """What the federated model is to another, see the module."""
    figures = [figure_of(results, name, metric) for name in (OURS, other)]
    patients = min(0 if figure is None else figure.n for figure in figures)
    gaps = trainings_apart(results, OURS, other, metric)
    return judged(
        difference_of(results, other, metric),
        patients,
        gaps,
        results.paired_test(other, metric),
        higher_is_better=results.metrics[metric].higher_is_better,
    )


def judged(
    difference: Difference | None,
    patients: int,
    gaps: Sequence[float] = (),
    test: PairedTest | None = None,
    *,
    higher_is_better: bool = True,
) -> Verdict:
    """What one model is to another by the rule of the module, the same for all pairs.

    Parameters
    ----------
    difference
        The model less the other, over so many patients; None where it is not told.
    gaps
        The same between every training of the one and every one of the other; they are known over all patients alone.
    test
        The same by ranks; None where there was none.
    """
    if difference is None:
        return "tied"
    if patients < FEWEST_PATIENTS or (test is not None and hopeless(test) and not same(difference)):
        return "too few"
    higher = _sure(difference, 1, gaps, test)
    if not higher and not _sure(difference, -1, gaps, test):
        return "tied"
    return "better" if higher == higher_is_better else "worse"


def objection(difference: Difference, test: PairedTest | None) -> str:
    """What a paired test has against a difference beyond its interval, as ``p = 0.063 by the paired test``; empty where
    it has nothing, or where the interval itself touches zero."""
    sign = next((sign for sign in (1, -1) if beyond(difference, sign)), None)
    if test is None or sign is None or _agrees(test, sign):
        return ""
    if hopeless(test):
        return f"the paired test's least p is {number(test.least)}"
    if test.p >= SIGNIFICANT:
        return f"{p_value(test.p)} by the paired test"
    return f"the paired test points the other way, {p_value(test.p)}"


def hopeless(test: PairedTest) -> bool:
    """Whether so few people could never be told apart from chance, even if all of them were on one side."""
    return test.least >= SIGNIFICANT


def _sure(difference: Difference, sign: int, gaps: Sequence[float], test: PairedTest | None) -> bool:
    """Whether all that is known says that a difference is above zero (1) or below it (-1)."""
    agreed = test is None or _agrees(test, sign)
    return agreed and beyond(difference, sign) and all(sign * gap > 0 for gap in gaps)


def _agrees(test: PairedTest, sign: int) -> bool:
    """A mean that few patients make may be on the other side of zero than most patients are."""
    return test.p < SIGNIFICANT and test.direction == sign


def same(difference: Difference) -> bool:
    """Whether no patient's figure differs, so that nothing is left open."""
    return difference.mean == 0 and difference.ci95 == (0, 0)


def unnoticed(difference: Difference) -> bool:
    """Whether the digits that tables show have nothing of a difference, nor of either end of its interval."""
    low, high = difference.ci95
    return low is not None and high is not None and low > -SHOWN and high < SHOWN


def unseen_verdict(results: RunResults, metric: str, over_borrowed: Difference, patients: int) -> Verdict:
    """What the federation's model is to other hospitals' own ones, at hospitals that neither saw; its trainings are
    compared with those of the mean of these."""
    return judged(over_borrowed, patients, trainings_apart(results, UNSEEN, BORROWED, metric))


def trainings_apart(results: RunResults, name: str, other: str, metric: str) -> list[float]:
    """Means over all patients of every training of a model less those of another one; none of a model trained once."""
    figure = figure_of(results, other, metric)
    mean = [] if figure is None or figure.mean is None else [figure.mean]
    theirs = trainings_of(results, other, metric) or mean
    return [mine - its for mine in trainings_of(results, name, metric) for its in theirs]


def trivial(results: RunResults) -> dict[str, dict[str, Verdict]]:
    """The trivial baselines, of the highest average precision first, and what the federated model is to each by every
    metric that both have."""
    ours = means_of(results, OURS)
    means = {name: means_of(results, name) for name in main_models(results)}
    names = [name for name in means if name not in (OURS, *COMPARED, UNSEEN, BORROWED)]
    found = {}
    for name in sorted(names, key=lambda name: -means[name].get(PRECISION, 0.0)):
        shared = [metric for metric in means[name] if metric in ours]
        if shared:
            found[name] = {metric: verdict(results, name, metric) for metric in shared}
    return found


def borrowing(results: RunResults) -> set[str]:
    """Sites that are tested and train nothing: there the figures of `OWN` are the mean over all other sites' models.

    None of older runs, which do not say who trained.
    """
    own = results.evaluation.get(OWN)
    return set(own.sites) - set(results.trained) if own is not None and results.trained else set()


def worse_on(results: RunResults, kind: str, metric: str) -> dict[str, Difference]:
    """The trivial baselines that surely find a kind of lesion better, and by how much."""
    figures = results.evaluation[OURS].kinds.get(kind, {})
    if metric not in figures:
        return {}
    differences = {name: results.differences[name].kinds for name in trivial(results) if name in results.differences}
    found = {name: kinds[kind][metric] for name, kinds in differences.items() if metric in kinds.get(kind, {})}
    return {name: difference for name, difference in found.items() if judged(difference, figures[metric].n) == "worse"}


def enough(figures: Figures, metric: str) -> bool:
    """Whether patients are enough to call one model better than another."""
    return metric in figures and figures[metric].n >= FEWEST_PATIENTS


def figure_of(results: RunResults, name: str, metric: str) -> Figure | None:
    """A model's figure over all patients; None where no site may say it."""
    figure = results.evaluation[name].all.get(metric) if name in results.evaluation else None
    return figure if figure is not None and figure.mean is not None else None


def compared_on(results: RunResults, other: str, metric: str) -> int:
    """How many patients both the federated model and another one have a figure of; 0 where no site may say it."""
    found = [figure_of(results, name, metric) for name in (OURS, other)]
    counts = [0 if figure is None else figure.n for figure in found]
    difference = difference_of(results, other, metric)
    return min(*counts, *([difference.n] if difference is not None and difference.n is not None else []))


def difference_of(results: RunResults, other: str, metric: str) -> Difference | None:
    """Over all patients; None where no site may say it."""
    difference = results.differences[other].all.get(metric) if other in results.differences else None
    return difference if difference is not None and difference.mean is not None else None


def means_of(results: RunResults, name: str) -> dict[str, float]:
    """A model's means over all patients, by every metric of `TITLES` that is said."""
    figures = {metric: figure_of(results, name, metric) for metric in TITLES}
    return {metric: figure.mean for metric, figure in figures.items() if figure and figure.mean is not None}


def trainings_of(results: RunResults, name: str, metric: str) -> list[float]:
    """Means of every training, where there were several."""
    model = results.evaluation.get(name)
    if model is not None and metric in model.trainings:
        return [mean for mean in model.trainings[metric].means if mean is not None]
    for row in results.league:
        if row.name == name and metric in row.figures and len(row.figures[metric].trainings) > 1:
            return [mean for mean in row.figures[metric].trainings if mean is not None]
    return []


def best_baseline(results: RunResults) -> str | None:
    """The trivial baseline of the highest average precision; None where there is none."""
    return next((name for name in trivial(results) if PRECISION in means_of(results, name)), None)


def verdicts_of(results: RunResults) -> dict[str, dict[str, Verdict]]:
    """Every model beside the federated one that it was compared with by some metric, and what it is to each."""
    return {
        name: {metric: verdict(results, name, metric) for metric in TITLES if difference_of(results, name, metric)}
        for name in results.differences
    }
