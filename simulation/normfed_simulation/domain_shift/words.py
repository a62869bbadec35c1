"""The answer of a study of domain shift in plain words, made of its figures: ties are called ties."""

from __future__ import annotations

from collections.abc import Mapping

from normfed_common.algorithms.arms import FEDERATED, OWN
from normfed_common.study.domain_shift import NONE
from normfed_server.report.words import listed, signed
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import Interval
from normfed_server.results.models import UNSEEN
from normfed_simulation.domain_shift.figures import ONLY
from normfed_simulation.domain_shift.gaps import is_gap, trainings_differ
from normfed_simulation.domain_shift.harmonizations import PERSONALISED
from normfed_simulation.domain_shift.layout import (
    ApproachFigures,
    Compared,
    DomainShift,
    Gap,
    HarmonizationResults,
    MetricFigures,
    Share,
    Told,
)

MAIN = "auprc"


def words(results: DomainShift) -> dict[str, list[str]]:
    """Sentences by what they are about: the loss, what wins it back, what is left of the scanner and of age."""
    found = {name: one for name, one in results.harmonizations.items() if not one.failed}
    failed = [f"{name} has no figures: {one.failed}" for name, one in results.harmonizations.items() if one.failed]
    topics = {"What failed": [text if text.endswith(".") else f"{text}." for text in failed]}
    if NONE not in found:
        topics["What is lost"] = ["Without a run without harmonization there is nothing to compare with."]
    else:
        harmonized = {name: one for name, one in found.items() if name != NONE}
        topics |= {
            "What is lost": _losses(results, found[NONE]),
            "What wins it back": [*(_won(harmonized) if harmonized else []), *_personalised(found)],
            "What is left of the scanner": _scanner(found),
            "What is left of age": _biology(found),
        }
    return {topic: sentences for topic, sentences in topics.items() if sentences}


def _losses(results: DomainShift, one: HarmonizationResults) -> list[str]:
    figures = one.figures[MAIN]
    title = results.metrics[MAIN]
    gaps, sentences = figures.gaps, []
    if FEDERATED not in gaps:
        return _of_strangers(results, figures)
    who = f"Over {_patients(gaps['federated'].all.n)} at {len(results.sites)} sites"
    if OWN in gaps:
        own = gaps[OWN].all
        sentences.append(
            f"{who}, a model of one site alone has a mean {title} of {_n(own.seen)} at home and {_n(own.unseen)} at "
            f"the other sites: {_loss(own)}."
        )
    whole = gaps["federated"].all
    sentences.append(
        f"{'It is' if sentences else f'{who}, it is'} {_n(whole.seen)} for a federation that the site is part of, and "
        f"{_n(whole.unseen)} for one that never saw it: {_loss(whole)}."
    )
    if whole.trainings is not None:
        low, high = whole.trainings.ci95
        sentences.append(
            f"Over {len(whole.trainings.means)} trainings that last difference is {signed(whole.trainings.mean)} "
            f"(95 % interval over trainings {signed(low)} to {signed(high)})."
        )
    elif results.drawn:
        sentences.append("Every model was trained once: what another draw would change is not known (--repeats).")
    worst = figures.approaches[UNSEEN].worst_site if UNSEEN in figures.approaches else None
    if worst is not None:
        sentences.append(f"The unseen site with the lowest figure is {worst.site}, {_n(worst.mean)}.")
    return sentences


def _of_strangers(results: DomainShift, figures: MetricFigures) -> list[str]:
    """Where all sites that test are unseen: the federation beside the best site alone, which is picked on these very
    patients."""
    title, whole = results.metrics[MAIN], figures.approaches[FEDERATED]
    text = (
        f"Over {_patients(whole.n)} at {len(results.sites)} sites, none of which trains, the federated model has a "
        f"mean {title} of {_n(whole.mean)}"
    )
    single = {name: of for name, of in figures.approaches.items() if name.startswith(ONLY) and of.mean is not None}
    if not single:
        return [f"{text}."]
    best = max(single, key=lambda name: single[name].mean or 0.0)
    found = single[best].over_federated
    said = "" if found is None else f"; against the federation that is {_verdict(found)}"
    return [
        f"{text}, and the best site alone, {best.removeprefix(ONLY)}, picked on these very patients, "
        f"{_n(single[best].mean)}{said}."
    ]


def _loss(gap: Gap) -> str:
    if gap.n < FEWEST_PATIENTS:
        return f"a difference of {signed(gap.gap.mean)}, of which so few patients say nothing"
    if trainings_differ(gap):
        return f"a tie, for trainings do not agree on the difference of {signed(gap.gap.mean)}"
    if is_gap(gap):
        return f"a loss of {_n(gap.gap.mean)} ({_interval(gap.gap.ci95)})"
    high = gap.gap.ci95[1]
    if high is not None and high <= -0.0005:
        return f"no loss, but {_n(-(gap.gap.mean or 0))} more ({_interval(gap.gap.ci95)})"
    return (
        f"a tie, for the difference of {signed(gap.gap.mean)} has an interval that holds 0 ({_interval(gap.gap.ci95)})"
    )


def _won(harmonized: Mapping[str, HarmonizationResults]) -> list[str]:
    """Of harmonizations: at the unseen site, whether better than without; and the share of the gap."""
    better: dict[str, list[str]] = {"better": [], "worse": [], "tied": []}
    for name, one in harmonized.items():
        unseen = one.figures[MAIN].approaches[UNSEEN]
        if unseen.over_none is not None:
            better[unseen.over_none.verdict].append(_changed(name, unseen, unseen.over_none))
    sentences = []
    if better["better"]:
        sentences.append(f"At the unseen site {listed(better['better'])} {_verb(better['better'])} better than none.")
    else:
        sentences.append("No harmonization is better than none at the unseen site.")
    if better["worse"]:
        sentences.append(f"Worse than none there: {listed(better['worse'])}.")
    if better["tied"]:
        sentences.append(f"Tied with none: {listed(better['tied'])}.")
    return [*sentences, *_shares(harmonized)]


def _shares(harmonized: Mapping[str, HarmonizationResults]) -> list[str]:
    sentences: list[str] = []
    undefined: dict[str, list[str]] = {}
    for kind, whose in (("federated", "the federation's loss"), (OWN, "a single site's loss")):
        gaps = {name: one.figures[MAIN].gaps.get(kind) for name, one in harmonized.items()}
        won = {name: of.all.won_back for name, of in gaps.items() if of is not None and of.all.won_back is not None}
        defined = [f"{name} {_share(share)}" for name, share in won.items() if share.value is not None]
        if defined:
            sentences.append(f"Share of {whose} that is won back at the unseen site: {listed(defined)}.")
        lost = [name for name, of in gaps.items() if of is not None and _smaller_for_less(of.all)]
        if lost:
            sentences.append(
                f"With {listed(lost)} seen and unseen are closer together only since the model lost where it was "
                "trained."
            )
        for why in sorted({share.why for share in won.values() if share.why}):
            undefined.setdefault(why, []).append(whose)
    for why, losses in undefined.items():
        sentences.append(f"What share of {listed(losses, 'or')} is won back is not defined: {why}.")
    return sentences


def _smaller_for_less(gap: Gap) -> bool:
    """Whether the gap closes beyond doubt, and nothing is won at the unseen site."""
    closed, won = gap.closed, gap.won_back
    if closed is None or won is None or closed.ci95 is None or won.ci95 is None:
        return False
    return (closed.ci95[0] or 0) > 0 and not (won.ci95[0] or 0) > 0


def _personalised(found: Mapping[str, HarmonizationResults]) -> list[str]:
    sentences = []
    for name, one in found.items():
        strategies = {s: of for s, of in one.figures[MAIN].approaches.items() if s in PERSONALISED}
        parts = [
            f"{strategy} {_verdict(of.over_federated)}"
            for strategy, of in strategies.items()
            if of.over_federated is not None
        ]
        if parts:
            condition = "Without harmonization" if name == NONE else f"With {name}"
            sentences.append(
                f"{condition}, beside {FEDERATED} training, a model of the site's own is: {listed(parts)}."
            )
    return sentences


def _scanner(found: Mapping[str, HarmonizationResults]) -> list[str]:
    sentences = []
    for what, of in (("features", "brightness of tissues and regions"), ("images", "smoothed images")):
        told = {name: _told(one, what) for name, one in found.items()}
        known = {name: one for name, one in told.items() if one is not None and one.accuracy is not None}
        if not known:
            whys = {one.why for one in told.values() if one is not None and one.why}
            sentences += [f"Whether {of} tell the scanner is not known: {why}." for why in sorted(whys)]
            continue
        parts = [f"{_percent(one.accuracy)} % {_name(name)} ({_chance(one)})" for name, one in known.items()]
        chance = next(iter(known.values())).chance
        sentences.append(
            f"By {of} a classifier tells the scanner of healthy people: {listed(parts)}; chance is "
            f"{_percent(chance)} %."
        )
    if any(_below(told) for one in found.values() if one.scanners for told in one.scanners.told):
        sentences.append(
            "Below chance is no sign of scans without a scanner: means were taken off these very people, so that those "
            "of whoever is left out lie on the other side."
        )
    return sentences


def _chance(told: Told) -> str:
    p = told.p_value or 0.0
    if _below(told):
        return f"p = {p:.2f}, below chance"
    above = (told.accuracy or 0) > (told.chance or 0) and p <= 0.05
    return f"p = {p:.2f}, {'above chance' if above else 'not told from chance'}"


def _below(told: Told) -> bool:
    high = None if told.ci95 is None else told.ci95[1]
    return high is not None and told.chance is not None and high < told.chance


def _biology(found: Mapping[str, HarmonizationResults]) -> list[str]:
    ages = {
        name: next((fit for fit in one.scanners.ages if fit.across), None)
        for name, one in found.items()
        if one.scanners
    }
    known = {name: fit for name, fit in ages.items() if fit is not None and fit.r2 is not None}
    if not known:
        whys = sorted({fit.why for fit in ages.values() if fit is not None and fit.why})
        return [f"What is left of age is not known: {why}." for why in whys]
    parts = [f"{signed(fit.r2)} {_name(name)} ({_interval(fit.ci95)})" for name, fit in known.items()]
    return [
        f"Age is read from the same figures, of scanners that the regression never saw, with an R2 of {listed(parts)}."
    ]


def _told(one: HarmonizationResults, what: str) -> Told | None:
    return None if one.scanners is None else next((told for told in one.scanners.told if told.what == what), None)


def _verdict(found: Compared) -> str:
    return f"{found.verdict} ({signed(found.mean)}, {_interval(found.ci95)})"


def _changed(name: str, unseen: ApproachFigures, found: Compared) -> str:
    return f"{name} ({_n(unseen.mean)}, {signed(found.mean)}, {_interval(found.ci95)})"


def _share(share: Share) -> str:
    low, high = share.ci95 or (None, None)
    return f"{_percent(share.value)} % ({_percent(low)} to {_percent(high)})"


def _name(name: str) -> str:
    return "without harmonization" if name == NONE else f"after {name}"


def _verb(parts: list[str]) -> str:
    return "is" if len(parts) == 1 else "are"


def _patients(count: int) -> str:
    return f"{count} patient{'s' if count != 1 else ''}"


def _interval(ends: Interval | None) -> str:
    low, high = ends or (None, None)
    return "no interval" if low is None or high is None else f"95 % {signed(low)} to {signed(high)}"


def _n(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f}"
