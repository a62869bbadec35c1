"""What was found, in words, after the headline: only what the figures say."""

from __future__ import annotations

from collections.abc import Iterable

from normfed_common.algorithms.arms import OWN, POOLED
from normfed_common.metrics.subjects import PairedTest
from normfed_server.report.lesions import CHANCE, beside_chance, plural
from normfed_server.report.verdicts import (
    COMPARED,
    OURS,
    REVERSED,
    SAME,
    SPOKEN,
    TITLES,
    UNDECIDED,
    WITHIN,
    Verdict,
    difference_of,
    figure_of,
    judged,
    means_of,
    objection,
    same,
    trainings_of,
    trivial,
    unnoticed,
    unseen_verdict,
    verdict,
    verdicts_of,
    worse_on,
)
from normfed_server.report.words import SAME_MODEL, counted, listed, number, percent, rate, signed
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import AUROC, PRECISION, Difference, LeagueRow
from normfed_server.results.layout import RunResults

BROKEN = 2.0  # times the promised false positives: a promise that is not kept
CONVERGED = 1.5  # at most so many times the loss of principal components; nonlinear networks of their size get below it
WHOLE: dict[Verdict, str] = {
    "better": "better than",
    "worse": "worse than",
    "tied": "not distinguishable from",
    "too few": "tested on too few patients to be told from",
}


def sentences(results: RunResults) -> list[str]:
    """The findings after the headline."""
    if figure_of(results, OURS, AUROC) is None:
        return _convergence(results)
    return [
        *_convergence(results),
        *(sentence for name in COMPARED for sentence in _compared(results, name)),
        *_at_unseen_hospitals(results),
        *_worst_sites(results),
        *_baselines(results),
        *_worse_on_kinds(results),
        *_false_positives(results),
        *_best_strategy(results),
        *_caution(results),
    ]


def _compared(results: RunResults, name: str) -> list[str]:
    """The federated model beside another way to train it, by every metric; and whether that one beats chance."""
    differences = {metric: difference for metric in TITLES if (difference := difference_of(results, name, metric))}
    patients = {metric: figure.n for metric in differences if (figure := figure_of(results, OURS, metric))}
    if not patients:
        return []
    what, itself = COMPARED[name]
    if all(same(differences[metric]) for metric in patients):
        text = f"It is the same as {what}{_by_construction(results, name)}"
        return [f"{text}: no patient's figure differs."]
    verdicts = {metric: verdict(results, name, metric) for metric in patients}
    by = {
        metric: f"{TITLES[metric]} ({_difference_in_words(differences[metric], n >= FEWEST_PATIENTS, test)})"
        for metric, n in patients.items()
        for test in (results.paired_test(name, metric),)
    }
    if len(set(verdicts.values())) == 1:
        (shared,) = set(verdicts.values())
        text = f"It is {WHOLE[shared]} {what} by {listed(by.values(), 'or' if shared in UNDECIDED else 'and')}."
    else:
        text = f"Against {what} it is {listed(f'{SPOKEN[verdicts[metric]]} by {by[metric]}' for metric in by)}."
    theirs = figure_of(results, name, AUROC)
    chance = beside_chance(theirs, trainings_of(results, name, AUROC))
    if theirs is not None and theirs.n >= FEWEST_PATIENTS and chance != "above chance":
        text += f" {itself} {chance} (AUROC {number(theirs.mean)}; chance {CHANCE:g})."
    return [text]


def _by_construction(results: RunResults, name: str) -> str:
    """Of sums, where nothing is drawn: those of all sites add up to those of all scans."""
    return ", by construction" if name == POOLED and {OURS, POOLED} <= set(results.nothing_drawn) else ""


def _at_unseen_hospitals(results: RunResults) -> list[str]:
    """The federation's model that never saw a hospital beside all other hospitals' own, on that hospital's people."""
    if results.unseen is None:
        return []
    found = {metric: results.unseen.all[metric] for metric in TITLES if metric in results.unseen.all}
    if not found or max(beside.n for beside in found.values()) < FEWEST_PATIENTS:
        return []
    reached = listed(f"{TITLES[metric]} {number(beside.unseen)}" for metric, beside in found.items())
    mean = _judged(
        (name, beside.borrowed, beside.over_borrowed, unseen_verdict(results, name, beside.over_borrowed, beside.n))
        for name, beside in found.items()
    )
    best = _judged(  # by the interval alone: which model is the best changes from training to training
        (name, beside.best, beside.over_best, judged(beside.over_best, beside.n)) for name, beside in found.items()
    )
    return [
        f"At a hospital that it never saw the federation's model reaches {reached}; beside the mean of all other "
        f"hospitals' own models there it is {mean}.",
        f"Beside the best of these, picked on the very patients of each hospital, which favours it, it is {best}.",
    ]


def _judged(theirs: Iterable[tuple[str, float | None, Difference, Verdict]]) -> str:
    """Better, worse or tied by every metric, those of one verdict together."""
    groups: dict[Verdict, list[str]] = {}
    for metric, figure, difference, found in theirs:
        by = f"{TITLES[metric]} ({number(figure)}; {_difference_in_words(difference, True)})"
        groups.setdefault(found, []).append(by)
    return listed(f"{SPOKEN[found]} by {listed(metrics)}" for found, metrics in groups.items())


def _convergence(results: RunResults) -> list[str]:
    """Says so if the federated model reconstructs much worse than principal components of its size do."""
    found = results.convergence.get(OURS)
    if found is None or found.ratio <= CONVERGED:
        return []
    return [
        f"Training did not converge: in the last round the loss is {number(found.ratio)} times that of PCA with as "
        "many components. Train for more rounds, or raise federation.learning_rate."
    ]


def _worst_sites(results: RunResults) -> list[str]:
    if OWN not in results.evaluation:
        return []
    ours, local = results.evaluation[OURS].worst_site, results.evaluation[OWN].worst_site
    both = [metric for metric in TITLES if metric in ours and metric in local]
    if not both:
        return []
    reached, alone = (
        listed(f"{TITLES[metric]} {number(worst[metric].mean)} ({worst[metric].site})" for metric in both)
        for worst in (ours, local)
    )
    return [f"At its worst site it reaches {reached}; local-only training at its own worst {alone}."]


def _together(verdicts: dict[str, Verdict]) -> str:
    """What another model is to the federated one, by every metric."""
    if len(set(verdicts.values())) > 1:
        return listed(f"{SPOKEN[found]} by {TITLES[metric]}" for metric, found in verdicts.items())
    (found,) = set(verdicts.values())
    return f"{WHOLE[found]} it" if found in UNDECIDED else found


def _baselines(results: RunResults) -> list[str]:
    """The trivial baselines with their figures, those of one verdict together, the best first."""
    groups: dict[tuple[tuple[str, Verdict], ...], list[str]] = {}
    for name, verdicts in trivial(results).items():
        groups.setdefault(tuple(verdicts.items()), []).append(name)
    said = []
    for pairs, names in groups.items():
        shown = [f"{results.title(name)} ({_in_words(means_of(results, name))})" for name in names]
        many = len(names) > 1
        subject = f"The trivial baseline{'s' if many else ''} {listed(shown)} {'are' if many else 'is'}"
        reversed_verdicts = {metric: REVERSED[ours] for metric, ours in pairs}
        said.append(f"{subject} {_together(reversed_verdicts)}.")
    return said


def _worse_on_kinds(results: RunResults) -> list[str]:
    """The kinds of lesion that a trivial baseline finds surely better, whatever the mean over all patients says."""
    found: dict[tuple[str, str], list[str]] = {}
    for kind in results.evaluation[OURS].kinds:
        for metric, title in TITLES.items():
            for name, difference in worse_on(results, kind, metric).items():
                by = f"{title} ({_difference_in_words(difference, True)})"
                found.setdefault((name, kind), []).append(by)
    parts = [f"{results.title(name)} on {plural(kind)} by {listed(by)}" for (name, kind), by in found.items()]
    return [f"By kind of lesion baselines score higher, beyond the interval: {'; '.join(parts)}."] if parts else []


def _best_strategy(results: RunResults) -> list[str]:
    """The strategy of the highest average precision, what it is to the study's own, and who gains by it."""
    strategies = [row for row in results.league if row.strategy]
    if len(strategies) < 2 or strategies[0].figures[PRECISION].mean is None:
        return []
    best, own = strategies[0], next((row for row in strategies if row.name == OURS), strategies[0])
    figures_of_best = f"{number(best.figures[PRECISION].mean)}, AUROC {number(best.figures[AUROC].mean)}"
    text = f"Of {len(strategies)} strategies {best.title} has the highest average precision ({figures_of_best})"
    text += f", picked on these very patients, so expect less on others; {_beside_own(results, best, own)}"
    if best.gain_over_local is None:
        return [f"{text}."]
    gains = ", ".join(
        f"{len(gain.gain)} of {len(gain.sites)} sites gain and {len(gain.lose)} lose by {TITLES[metric]}"
        for metric in TITLES
        if (gain := best.gain_over_local.get(metric))
    )
    return [f"{text}; against training alone, beyond their intervals, {gains}."]


def _beside_own(results: RunResults, best: LeagueRow, own: LeagueRow) -> str:
    """What the best strategy is to the study's own; where that is the best itself, what the others are to it."""
    verdicts = {name: found.get(PRECISION, "tied") for name, found in verdicts_of(results).items()}
    if best is not own:
        found = REVERSED[verdicts.get(best.name, "tied")]
        return f"it is {WHOLE[found]} {own.title}"
    others = [row for row in results.league if row.strategy and row is not own]
    of_each = {word: [row.title for row in others if verdicts.get(row.name, "tied") == word] for word in UNDECIDED}
    undecided = [
        f"{listed(rows)} {'is' if len(rows) == 1 else 'are'} {WHOLE[word]} it" for word, rows in of_each.items() if rows
    ]
    return listed(undecided) if undecided else "it is better than the others"


def _false_positives(results: RunResults) -> list[str]:
    """Sites at which other sites' normal people promise less than half of the false positives that are there."""
    found = results.evaluation[OURS].calibration
    if found is None:
        return []
    beyond_promise = {
        site: its
        for site, its in found.sites.items()
        if its.measured is not None and its.measured.low > BROKEN * found.promised
    }
    if not beyond_promise:
        return []
    parts = [
        f"{rate(its.measured)} at {site} ({counted(its.people, 'person', 'people')})"
        for site, its in beyond_promise.items()
    ]
    return [
        f"The threshold promises to call {percent(found.promised)} % of normal people's voxels abnormal; set on all "
        f"other sites' people it calls {listed(parts)}: expect false alarms there."
    ]


def _caution(results: RunResults) -> list[str]:
    """What the intervals do not know of."""
    figure = figure_of(results, OURS, AUROC)
    if not results.differences or figure is None or figure.n < FEWEST_PATIENTS:
        return []
    trainings = len(trainings_of(results, OURS, AUROC))
    if trainings:
        return [f"Better and worse: beyond the interval over patients, and in each of {trainings} trainings."]
    if OURS in results.nothing_drawn:
        return [f"The intervals are over patients. {SAME_MODEL}"]
    return ["The intervals are over patients, with the trained models held fixed: another seed may decide otherwise."]


def _in_words(means: dict[str, float]) -> str:
    return ", ".join(f"{TITLES[metric]} {number(mean)}" for metric, mean in means.items())


def _difference_in_words(difference: Difference, with_interval: bool, test: PairedTest | None = None) -> str:
    """With what the paired test has against it, where it is beyond its interval."""
    low, high = difference.ci95
    if with_interval and same(difference):
        return SAME
    if low is None or high is None or not with_interval:
        return signed(difference.mean)
    if unnoticed(difference):
        return f"0.000, {WITHIN}"
    text = f"{signed(difference.mean)}, 95 % interval {signed(low)} to {signed(high)}"
    but = objection(difference, test)
    return f"{text}, but {but}" if but else text
