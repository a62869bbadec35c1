"""Does it find lesions? The first sentence of a run, for whoever reads no other, and those that qualify it.

Do not use this map, it says, where the model is at chance or near it, or where a trivial baseline is above it: by
average precision, or by AUROC while average precision decides nothing for the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from normfed_server.report.chance import SHARE, beside
from normfed_server.report.false_alarm import false_alarm
from normfed_server.report.held_out import threshold
from normfed_server.report.lesions import (
    CHANCE,
    beside_chance,
    few,
    in_words,
    level,
    plural,
)
from normfed_server.report.sites_apart import sites_apart
from normfed_server.report.verdicts import (
    OURS,
    SPOKEN,
    TITLES,
    UNDECIDED,
    Verdict,
    difference_of,
    figure_of,
    means_of,
    title,
    trainings_of,
    trivial,
    worse_on,
)
from normfed_server.report.words import capital, counted, listed, number, percent, signed, small
from normfed_server.report.worth import worth
from normfed_server.results.chance import chance
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import AUROC, PRECISION, Figures
from normfed_server.results.layout import RunResults

BARELY = 0.1  # of AUROC above chance
SLIGHT, SLIGHT_SHARE = 0.01, 0.1  # of average precision or AUROC, and of a baseline's own
TOUCHED, HITS, FALSE = "lesion_sensitivity", "cluster_rank", "false_clusters"
HEADLINE: dict[Verdict, str] = {
    "better": "better than",
    "worse": "worse than",
    "tied": "no better than",
    "too few": "too few patients to be told from",
}


def headline(results: RunResults) -> list[str]:
    """What was found, in a few sentences, the first for a human being."""
    if results.nobody_ill or not _tested(results):
        return [
            f"Nothing was tested: no patient with a lesion is among these people, so how well the {title(results)} "
            "finds lesions is not known."
        ]
    figure = figure_of(results, OURS, AUROC)
    if figure is None:
        return [f"No site says an AUROC of the {title(results)}, so whether it finds lesions is not known."]
    if figure.n < FEWEST_PATIENTS:
        patients = "1 patient is" if figure.n == 1 else f"{figure.n} patients are"
        return [
            f"Too few to say whether the {title(results)} finds lesions: {patients} no evidence.",
            _reached(results),
        ]
    at_chance, against = _at_chance(results), reasons_against(results)
    return [
        *([f"Do not use this map: {'; '.join(against)}."] if against else []),
        *([] if at_chance else _finds(results)),
        *false_alarm(results),
        _reached(results),
        *sites_apart(results),
        *few(results.evaluation[OURS].kinds),
        *_beside_baselines(results),
        *([] if at_chance else worth(results)),
        *([] if at_chance else _not_for(results)),
    ]


def reasons_against(results: RunResults) -> list[str]:
    """Why not to use the map; none where nothing speaks against it, or too little was tested to say."""
    figure = figure_of(results, OURS, AUROC)
    if results.nobody_ill or figure is None or figure.n < FEWEST_PATIENTS:
        return []
    return [text for text in (_at_chance(results), _beaten(results)) if text]


def in_short(results: RunResults) -> str:
    """A run in one line: what was trained, on whom it was tested, what it reaches."""
    figures = {metric: figure for metric in reversed(TITLES) if (figure := figure_of(results, OURS, metric))}
    if results.nobody_ill or not figures:
        return f"{title(results)}, not tested on patients"
    n, sites = next(iter(figures.values())).n, len(results.evaluation[OURS].sites)
    reached = ", ".join(f"{TITLES[metric]} {number(figure.mean)}" for metric, figure in figures.items())
    mind = "; too few to say" if n < FEWEST_PATIENTS else "; do not use this map" if reasons_against(results) else ""
    if not mind and {_decided(verdicts) for verdicts in trivial(results).values()} == {"too few"}:
        mind = "; too few to say whether better than trivial baselines"
    whom = f"{counted(n, 'patient', 'patients')} at {counted(sites, 'site', 'sites')}"
    return f"{title(results)}, {whom}, {reached}{mind}"


def _tested(results: RunResults) -> bool:
    """Whether any model was tested on anybody."""
    return any(figure.n for model in results.evaluation.values() for figure in model.all.values())


def _finds(results: RunResults) -> list[str]:
    """In how many patients clusters find lesions, and for which kinds the ranking of voxels is precise."""
    model = results.evaluation[OURS]
    how = in_words(model.kinds) or in_words({"lesions": model.all}) or "above chance; how precise it is nobody says"
    found = _found(model.all, results.intervals == "bootstrap", threshold(results))
    if not found:
        return [f"Voxel by voxel the {title(results)} is {how}."]
    return [f"The {title(results)} finds {found}.", f"Voxel by voxel it is {how}."]


def _found(figures: Figures, every_count_is_said: bool, at: str) -> str:
    """``lesions in 30 of 36 patients: …``, without the number where hospitals say one only if it is all of theirs."""
    touched, hits, wrong = (figures.get(metric) for metric in (TOUCHED, HITS, FALSE))
    if touched is None:
        return ""
    whom = f" in {hits.n if hits else 0} of {touched.n} patients"
    if not (every_count_is_said or (hits is not None and hits.n == touched.n)):
        whom = ""
    if touched.mean is None:
        return f"lesions{whom}" if whom else ""
    text = f"lesions{whom}" if touched.mean or whom else "no lesion"
    text += (
        f": its most suspicious clusters, at most ten in a scan, at {at} or above it, touch "
        f"{percent(touched.mean)} % of a patient's lesions on average"
    )
    of_the_same = wrong is not None and wrong.n == touched.n  # people without a lesion may have been tested, too
    return f"{text}, and {number(wrong.mean)} of them touch none" if wrong is not None and of_the_same else text


def _reached(results: RunResults) -> str:
    """Every figure with its chance."""
    figures = {metric: figure for metric in TITLES if (figure := figure_of(results, OURS, metric))}
    reached = listed(f"{TITLES[name]} {number(figure.mean)}{beside(results, name)}" for name, figure in figures.items())
    n = next(iter(figures.values())).n
    return f"It reaches {reached}{', means over ' + str(n) + ' patients' if n > 1 else ', in 1 patient'}."


def _at_chance(results: RunResults) -> str:
    """Why a model is no more than chance; empty where it is more."""
    figure, precision = figure_of(results, OURS, AUROC), figure_of(results, OURS, PRECISION)
    assert figure is not None
    assert figure.mean is not None
    place: str = beside_chance(figure, trainings_of(results, OURS, AUROC))
    if place == "above chance" and figure.mean < CHANCE + BARELY:
        place = f"barely {place}"
    if place != "above chance":
        return f"the {title(results)} is {place} (AUROC {number(figure.mean)}; chance {CHANCE:g})"
    share = chance(results, PRECISION)
    low = precision.ci95[0] if precision is not None and precision.ci95 is not None else None
    if precision is not None and share is not None and low is not None and low <= share:
        return (
            f"the {title(results)} is not distinguishable from chance (average precision {number(precision.mean)}; "
            f"chance {small(share)}, {SHARE})"
        )
    return ""


def _beaten(results: RunResults) -> str:
    """The trivial baselines that surely find lesions better, and those above the model by the interval alone: a warning
    waits for no test, which few patients never pass. Empty where there is none."""
    surely = _above(results)
    higher = [name for name in _above(results.tested({})) if name not in surely]
    parts = (
        _baselines(results, surely, "find", "lesions better"),
        _baselines(results, higher, "score", "higher, by the interval if not by the paired test"),
    )
    return "; ".join(part for part in parts if part)


def _above(results: RunResults) -> list[str]:
    return [name for name, verdicts in trivial(results).items() if _decided(verdicts) == "worse"]


def _baselines(results: RunResults, names: Sequence[str], verb: str, what: str) -> str:
    many = len(names) > 1
    titles = listed(map(results.title, names))
    return f"the trivial baseline{'s' if many else ''} {titles} {verb}{'' if many else 's'} {what}" if names else ""


def _decided(verdicts: dict[str, Verdict]) -> Verdict:
    """By average precision; by AUROC where that decides nothing, or is not known."""
    by_precision = verdicts.get(PRECISION, "tied")
    by_auroc = verdicts.get(AUROC, "tied")
    return by_precision if by_precision not in UNDECIDED or by_auroc == "tied" else by_auroc


def _not_for(results: RunResults) -> list[str]:
    """Kinds of lesion for which the map is of no use: at chance, or a trivial baseline is surely better."""
    reasons: dict[str, list[str]] = {}
    for kind, figures in results.evaluation[OURS].kinds.items():
        if AUROC in figures and PRECISION in figures and level(figures) == "not":
            why = f"its ranking is no better than chance (AUROC {number(figures[AUROC].mean)}; chance {CHANCE:g})"
            reasons.setdefault(why, []).append(plural(kind))
        elif better := worse_on(results, kind, PRECISION):
            scores = "scores" if len(better) == 1 else "score"
            why = f"{listed(map(results.title, better))} {scores} higher there, beyond the interval"
            reasons.setdefault(why, []).append(plural(kind))
    return [f"Do not use this map for {listed(kinds, 'or')}: {why}." for why, kinds in reasons.items()]


def _beside_baselines(results: RunResults) -> list[str]:
    """``No better than FLAIR intensity; better than atlas (+0.031) by average precision (tied by AUROC).``"""
    groups: dict[tuple[bool, tuple[tuple[str, Verdict], ...]], list[str]] = {}
    for name, verdicts in trivial(results).items():
        groups.setdefault((_slight(results, name, verdicts), tuple(verdicts.items())), []).append(name)
    parts = [
        _beside(dict(pairs), [_by_how_much(results, name, dict(pairs)) for name in names], slight)
        for (slight, pairs), names in groups.items()
    ]
    return [f"{capital('; '.join(parts))}."] if parts else []


def _slight(results: RunResults, name: str, verdicts: dict[str, Verdict]) -> bool:
    """Whether nobody would notice what the model is better than a baseline by, however surely: in each metric that it
    is better by, little of its own, and little of the baseline's figure."""
    better = [metric for metric, found in verdicts.items() if found == "better"]
    theirs = means_of(results, name)
    gaps = {metric: difference.mean for metric in better if (difference := difference_of(results, name, metric))}
    return bool(better) and all(
        gap is not None and abs(gap) < min(SLIGHT, SLIGHT_SHARE * theirs[metric]) for metric, gap in gaps.items()
    )


def _beside(verdicts: dict[str, Verdict], names: Iterable[str], slight: bool) -> str:
    """What the federated model is to others; where metrics disagree by the one that decides, the other in brackets."""
    others = listed(names)
    hardly = "hardly " if slight else ""
    if len(set(verdicts.values())) == 1:
        (shared,) = set(verdicts.values())
        return f"{hardly}{HEADLINE[shared]} {others}"
    deciding = next((metric for metric in reversed(verdicts) if verdicts[metric] not in UNDECIDED), PRECISION)
    rest = listed(
        f"{SPOKEN[verdict]} by {TITLES[metric]}" for metric, verdict in verdicts.items() if metric != deciding
    )
    return f"{hardly}{HEADLINE[verdicts[deciding]]} {others} by {TITLES[deciding]} ({rest})"


def _by_how_much(results: RunResults, name: str, verdicts: dict[str, Verdict]) -> str:
    """A baseline, and how far away it is in average precision unless that is a tie; metrics that agree are named."""
    difference = difference_of(results, name, PRECISION)
    if difference is None or verdicts.get(PRECISION, "tied") == "tied":
        return results.title(name)
    metric = f"{TITLES[PRECISION]} " if len(set(verdicts.values())) == 1 else ""
    return f"{results.title(name)} ({metric}{signed(difference.mean)})"
