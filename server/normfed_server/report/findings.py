"""What was found, in words: only what the figures say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from normfed_server.report.lesions import AUROC, CHANCE, FEWEST_PATIENTS, PRECISION, beside_chance, found, plural
from normfed_server.report.words import SAME_MODEL, listed, number, percent, rate, signed
from normfed_server.results.layout import Difference, Figure, Figures, LeagueRow, ModelFigures, RunResults
from normfed_server.results.league import beyond
from normfed_server.results.models import BORROWED, UNSEEN

OURS = "federated"
TITLES = {AUROC: "AUROC", PRECISION: "average precision"}  # what the findings speak of
BROKEN = 2.0  # times the promised false positives: a promise that is not kept
BARELY = 0.1  # of AUROC above chance
CONVERGED = 1.5  # at most so many times the loss of principal components; nonlinear networks of their size get below it
COMPARED = {
    "pooled": ("training on all scans in one place", "The pooled model is itself"),
    "local": ("every site training alone", "The local models are themselves"),
}

Verdict = Literal["better", "worse", "tied"]
WHOLE: dict[Verdict, str] = {
    "better": "better than",
    "worse": "worse than",
    "tied": "not distinguishable from",
}
HEADLINE: dict[Verdict, str] = {"better": "better than", "worse": "worse than", "tied": "no better than"}
NOBODY_ILL = "Nobody with a lesion was tested, so whether the federated model finds lesions is not known."
REVERSED: dict[Verdict, Verdict] = {"better": "worse", "worse": "better", "tied": "tied"}


def main_models(results: RunResults) -> dict[str, ModelFigures]:
    """What the tables of results show: other strategies stand in the league table."""
    others = set(results.strategies) - {OURS}
    return {name: model for name, model in results.evaluation.items() if name not in others}


def headline(results: RunResults) -> str:
    """What was found, in a few sentences: which kinds of lesion, beside chance and the trivial baselines."""
    figure = _figure(results, OURS, AUROC)
    if results.nobody_ill:
        return NOBODY_ILL
    if figure is None:
        return "No site says an AUROC of the federated model."
    if figure.n < FEWEST_PATIENTS:
        return f"Too few patients to say more than AUROC {number(figure.mean)} over {figure.n} (chance {CHANCE:g})."
    trainings = _trainings(results, OURS, AUROC)
    kinds = found(results.evaluation[OURS].kinds) if all(mean > CHANCE for mean in trainings) else []
    beside = _beside_baselines(results)
    if any(text.startswith("Finds") for text in kinds):
        return " ".join([*kinds, *beside])
    chance = beside_chance(figure, trainings)
    barely = chance == "above chance" and figure.mean is not None and figure.mean < CHANCE + BARELY
    level = f"{'barely ' if barely else ''}{chance}"
    return " ".join([f"{_capital(level)} (AUROC {number(figure.mean)}; chance {CHANCE:g}).", *kinds, *beside])


def sentences(results: RunResults) -> list[str]:
    """The findings, the headline first."""
    figures = {metric: figure for metric in TITLES if (figure := _figure(results, OURS, metric))}
    if AUROC not in figures:
        return [headline(results), *_convergence(results)]
    chances = {AUROC: f" (chance {CHANCE:g})", PRECISION: ""}
    reached = listed(f"{TITLES[metric]} {number(figure.mean)}{chances[metric]}" for metric, figure in figures.items())
    return [
        headline(results),
        f"The federated model reaches {reached}, means over {figures[AUROC].n} patients.",
        *_convergence(results),
        *(sentence for name in COMPARED for sentence in _compared(results, name)),
        *_at_unseen_hospitals(results),
        *_worth(results),
        *_worst_sites(results),
        *_baselines(results),
        *_worse_on_kinds(results),
        *_false_positives(results),
        *_best_strategy(results.league),
        *_caution(results),
    ]


def verdict(results: RunResults, other: str, metric: str) -> Verdict:
    """What the federated model is to another: better or worse only beyond the 95 % interval over patients enough, and
    where each of its trainings says so beside each of the other's."""
    figure, difference = _figure(results, OURS, metric), _difference(results, other, metric)
    if figure is None or difference is None or figure.n < FEWEST_PATIENTS:
        return "tied"
    theirs = _trainings(results, other, metric) or [_means(results, other)[metric]]
    gaps = [mine - its for mine in _trainings(results, OURS, metric) for its in theirs]
    if beyond(difference, 1) and all(gap > 0 for gap in gaps):
        return "better"
    return "worse" if beyond(difference, -1) and all(gap < 0 for gap in gaps) else "tied"


def _compared(results: RunResults, name: str) -> list[str]:
    """The federated model beside another way to train it, by every metric; and whether that one beats chance."""
    differences = {metric: difference for metric in TITLES if (difference := _difference(results, name, metric))}
    patients = {metric: figure.n for metric in differences if (figure := _figure(results, OURS, metric))}
    if not patients:
        return []
    what, itself = COMPARED[name]
    verdicts = {metric: verdict(results, name, metric) for metric in patients}
    by = {
        metric: f"{TITLES[metric]} ({_difference_in_words(differences[metric], n >= FEWEST_PATIENTS)})"
        for metric, n in patients.items()
    }
    if len(set(verdicts.values())) == 1:
        (shared,) = set(verdicts.values())
        text = f"It is {WHOLE[shared]} {what} by {listed(by.values(), 'or' if shared == 'tied' else 'and')}."
    else:
        text = f"Against {what} it is {listed(f'{verdicts[metric]} by {by[metric]}' for metric in by)}."
    theirs = _figure(results, name, AUROC)
    chance = beside_chance(theirs, _trainings(results, name, AUROC))
    if theirs is not None and theirs.n >= FEWEST_PATIENTS and chance != "above chance":
        text += f" {itself} {chance} (AUROC {number(theirs.mean)}; chance {CHANCE:g})."
    return [text]


def _at_unseen_hospitals(results: RunResults) -> list[str]:
    """The federation's model that never saw a hospital beside all other hospitals' own, on that hospital's people."""
    if results.unseen is None:
        return []
    found = {metric: results.unseen.all[metric] for metric in TITLES if metric in results.unseen.all}
    if not found or max(beside.n for beside in found.values()) < FEWEST_PATIENTS:
        return []
    reached = listed(f"{TITLES[metric]} {number(beside.unseen)}" for metric, beside in found.items())
    mean = _judged(results, {metric: (beside.borrowed, beside.over_borrowed) for metric, beside in found.items()})
    best = _judged(results, {metric: (beside.best, beside.over_best) for metric, beside in found.items()})
    return [
        f"At a hospital that it never saw the federation's model reaches {reached}; beside the mean of all other "
        f"hospitals' own models there it is {mean}.",
        f"Beside the best of these, picked on the very patients of each hospital, which favours it, it is {best}.",
    ]


def _judged(results: RunResults, theirs: dict[str, tuple[float | None, Difference]]) -> str:
    """Better, worse or tied by every metric, those of one verdict together."""
    groups: dict[Verdict, list[str]] = {}
    for metric, (figure, difference) in theirs.items():
        by = f"{TITLES[metric]} ({number(figure)}; {_difference_in_words(difference, True)})"
        groups.setdefault(_unseen_verdict(results, metric, difference), []).append(by)
    return listed(f"{found} by {listed(metrics)}" for found, metrics in groups.items())


def _unseen_verdict(results: RunResults, metric: str, difference: Difference) -> Verdict:
    """As `verdict`; trainings are compared with those of the mean of the other hospitals' models."""
    ours, theirs = (_trainings(results, name, metric) or [0.0] for name in (UNSEEN, BORROWED))
    several = len(ours) > 1
    if beyond(difference, 1) and (not several or min(ours) > max(theirs)):
        return "better"
    return "worse" if beyond(difference, -1) and (not several or max(ours) < min(theirs)) else "tied"


def _worth(results: RunResults) -> list[str]:
    """Whom the federation serves, where it does not serve the hospitals that train."""
    found = results.unseen.all.get(PRECISION) if results.unseen is not None else None
    if found is None or found.n < FEWEST_PATIENTS or _difference(results, "local", PRECISION) is None:
        return []
    if verdict(results, "local", PRECISION) == "better":
        return []
    by = f"by {TITLES[PRECISION]}"
    if _unseen_verdict(results, PRECISION, found.over_borrowed) == "better":
        return [
            f"A hospital that trains gains nothing {by} over its own model; one that does not train does, over any "
            "other hospital's: that is what this federation is for."
        ]
    return [
        f"With this model, on these scans, no hospital is seen to gain {by} from the others, whether it trains or not."
    ]


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
    if "local" not in results.evaluation:
        return []
    ours, local = results.evaluation[OURS].worst_site, results.evaluation["local"].worst_site
    both = [metric for metric in TITLES if metric in ours and metric in local]
    if not both:
        return []
    reached, alone = (
        listed(f"{TITLES[metric]} {number(worst[metric].mean)} ({worst[metric].site})" for metric in both)
        for worst in (ours, local)
    )
    return [f"At its worst site it reaches {reached}; local-only training at its own worst {alone}."]


def _baselines(results: RunResults) -> list[str]:
    """The trivial baselines with their figures, those of one verdict together, the best first."""
    said = []
    for verdicts, names in _trivial(results).items():
        shown = [f"{results.title(name)} ({_in_words(_means(results, name))})" for name in names]
        many = len(names) > 1
        subject = f"The trivial baseline{'s' if many else ''} {listed(shown)} {'are' if many else 'is'}"
        reversed_verdicts = {metric: REVERSED[ours] for metric, ours in verdicts}
        said.append(f"{subject} {_together(reversed_verdicts)}.")
    return said


def _worse_on_kinds(results: RunResults) -> list[str]:
    """The kinds of lesion that a trivial baseline finds surely better, whatever the mean over all patients says."""
    kinds = results.evaluation[OURS].kinds
    parts = []
    for name in (name for names in _trivial(results).values() for name in names if name in results.differences):
        for kind, differences in results.differences[name].kinds.items():
            worse = [
                f"{TITLES[metric]} ({_difference_in_words(differences[metric], True)})"
                for metric in TITLES
                if metric in differences and beyond(differences[metric], -1) and _enough(kinds.get(kind, {}), metric)
            ]
            if worse:
                parts.append(f"than {results.title(name)} on {plural(kind)} by {listed(worse)}")
    return [f"By kind of lesion it is worse {'; '.join(parts)}."] if parts else []


def _enough(figures: Figures, metric: str) -> bool:
    """Whether patients are enough to call one model better than another."""
    return metric in figures and figures[metric].n >= FEWEST_PATIENTS


def _beside_baselines(results: RunResults) -> list[str]:
    """``No better than FLAIR intensity; better than atlas (+0.031) by average precision (tied by AUROC).``"""
    parts = [
        _beside(verdicts, [_by_how_much(results, name, verdicts) for name in names])
        for verdicts, names in ((dict(pairs), names) for pairs, names in _trivial(results).items())
    ]
    return [f"{_capital('; '.join(parts))}."] if parts else []


def _beside(verdicts: dict[str, Verdict], names: Iterable[str]) -> str:
    """What the federated model is to others; where metrics disagree by the one that decides, the other in brackets."""
    others = listed(names)
    if len(set(verdicts.values())) == 1:
        (shared,) = set(verdicts.values())
        return f"{HEADLINE[shared]} {others}"
    deciding = next(metric for metric in reversed(verdicts) if verdicts[metric] != "tied")
    rest = listed(f"{verdict} by {TITLES[metric]}" for metric, verdict in verdicts.items() if metric != deciding)
    return f"{verdicts[deciding]} than {others} by {TITLES[deciding]} ({rest})"


def _by_how_much(results: RunResults, name: str, verdicts: dict[str, Verdict]) -> str:
    """A baseline, and how far away it is in average precision where this decides; metrics that agree are named."""
    difference = _difference(results, name, PRECISION)
    if difference is None or verdicts.get(PRECISION, "tied") == "tied":
        return results.title(name)
    metric = f"{TITLES[PRECISION]} " if len(set(verdicts.values())) == 1 else ""
    return f"{results.title(name)} ({metric}{signed(difference.mean)})"


def _trivial(results: RunResults) -> dict[tuple[tuple[str, Verdict], ...], list[str]]:
    """What the federated model is to the trivial baselines by every metric, and to which, the best first."""
    groups: dict[tuple[tuple[str, Verdict], ...], list[str]] = {}
    means = {name: _means(results, name) for name in main_models(results)}
    trivial = [name for name in means if name not in (OURS, *COMPARED, UNSEEN, BORROWED)]
    for name in sorted(trivial, key=lambda name: -means[name].get(PRECISION, 0.0)):
        shared = [metric for metric in means[name] if metric in means[OURS]]
        if shared:
            verdicts = tuple((metric, verdict(results, name, metric)) for metric in shared)
            groups.setdefault(verdicts, []).append(name)
    return groups


def _together(verdicts: dict[str, Verdict]) -> str:
    """What another model is to the federated one, by every metric."""
    if len(set(verdicts.values())) > 1:
        return listed(f"{found} by {TITLES[metric]}" for metric, found in verdicts.items())
    (found,) = set(verdicts.values())
    return "not distinguishable from it" if found == "tied" else found


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
    parts = [f"{rate(its.measured)} at {site} ({_people(its.people)})" for site, its in beyond_promise.items()]
    return [
        f"The threshold promises to call {percent(found.promised)} % of normal people's voxels abnormal; set on all "
        f"other sites' people it calls {listed(parts)}: expect false alarms there."
    ]


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _best_strategy(league: Sequence[LeagueRow]) -> list[str]:
    strategies = [row for row in league if row.strategy]
    if len(strategies) < 2 or strategies[0].figures[PRECISION].mean is None:
        return []
    best = strategies[0]
    figures_of_best = f"{number(best.figures[PRECISION].mean)}, AUROC {number(best.figures[AUROC].mean)}"
    text = f"Of {len(strategies)} strategies {best.name} has the highest average precision ({figures_of_best})"
    text += ", picked on these very patients, so expect less on others"
    if best.gain_over_local is None:
        return [f"{text}."]
    gains = ", ".join(
        f"{len(gain.gain)} of {len(gain.sites)} sites gain and {len(gain.lose)} lose by {TITLES[metric]}"
        for metric in TITLES
        if (gain := best.gain_over_local.get(metric))
    )
    return [f"{text}; against training alone, beyond their intervals, {gains}."]


def _caution(results: RunResults) -> list[str]:
    """What the intervals do not know of."""
    figure = _figure(results, OURS, AUROC)
    if not results.differences or figure is None or figure.n < FEWEST_PATIENTS:
        return []
    trainings = len(_trainings(results, OURS, AUROC))
    if trainings:
        return [f"Better and worse: beyond the interval over patients, and in each of {trainings} trainings."]
    if OURS in results.nothing_drawn:
        return [f"The intervals are over patients. {SAME_MODEL}"]
    return ["The intervals are over patients, with the trained models held fixed: another seed may decide otherwise."]


def _figure(results: RunResults, name: str, metric: str) -> Figure | None:
    """A model's figure over all patients; None where no site may say it."""
    figure = results.evaluation[name].all.get(metric) if name in results.evaluation else None
    return figure if figure is not None and figure.mean is not None else None


def _difference(results: RunResults, other: str, metric: str) -> Difference | None:
    difference = results.differences[other].all.get(metric) if other in results.differences else None
    return difference if difference is not None and difference.mean is not None else None


def _means(results: RunResults, name: str) -> dict[str, float]:
    figures = {metric: _figure(results, name, metric) for metric in TITLES}
    return {metric: figure.mean for metric, figure in figures.items() if figure and figure.mean is not None}


def _trainings(results: RunResults, name: str, metric: str) -> list[float]:
    """Means of every training, where there were several."""
    model = results.evaluation.get(name)
    if model is not None and metric in model.trainings:
        return [mean for mean in model.trainings[metric].means if mean is not None]
    for row in results.league:
        if row.name == name and len(row.figures[metric].trainings) > 1:
            return [mean for mean in row.figures[metric].trainings if mean is not None]
    return []


def _in_words(means: dict[str, float]) -> str:
    return ", ".join(f"{TITLES[metric]} {number(mean)}" for metric, mean in means.items())


def _difference_in_words(difference: Difference, with_interval: bool) -> str:
    low, high = difference.ci95
    if low is None or high is None or not with_interval:
        return signed(difference.mean)
    return f"{signed(difference.mean)}, 95 % interval {signed(low)} to {signed(high)}"


def _capital(text: str) -> str:
    """A sentence's beginning; names in it keep their case."""
    return f"{text[:1].upper()}{text[1:]}"
