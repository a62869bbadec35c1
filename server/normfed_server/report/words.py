"""Sentences about a run that both the screen and the report show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from normfed_common.study.config import StudyConfig
from normfed_server.results.calibration import Rate
from normfed_server.results.figures import LeagueFigure
from normfed_server.results.layout import RunResults
from normfed_server.steps.shares import DOMINANT

SAME_MODEL = "Nothing is drawn in its training: every training gives this same model."


def alone_sentences(results: RunResults) -> list[str]:
    """That nothing was federated, where a single site trained: the first thing to know of every figure."""
    if len(results.trained) != 1:
        return []
    (site,) = results.trained
    return [
        f"Only one site trained: this is no federation. The federated model is that of {site} alone, and nothing here "
        "says what a federation is worth."
    ]


def participation_sentence(results: RunResults) -> str | None:
    """Who should have taken part in the federated model and did not; None when everybody always did."""
    missing = results.missing.get("federated", {})
    if not missing:
        return None
    total = len(results.rounds)
    parts = [f"{site} in {_rounds(rounds, total)}{_reason(results, site, rounds)}" for site, rounds in missing.items()]
    return f"Partial: the federated model was trained without {', '.join(parts)}."


def missed_sentences(results: RunResults) -> list[str]:
    """Which sites' sums, last training or figures are not in which models, and why."""
    models: dict[tuple[str, str], list[str]] = {}
    for model, sites in results.missed.items():
        for site, why in sites.items():
            models.setdefault((site, why), []).append(model)
    return [f"Without {site} in part ({', '.join(names)}): {why}." for (site, why), names in sorted(models.items())]


def note_sentences(results: RunResults) -> list[str]:
    """What sites said of the method, such as that their sums left as means of cubes, and for which models."""
    models: dict[tuple[str, str], list[str]] = {}
    for model, sites in results.notes.items():
        for site, texts in sites.items():
            for text in texts:
                models.setdefault((site, text), []).append(model)
    return [f"{site} ({', '.join(names)}): {text}" for (site, text), names in sorted(models.items())]


def adapted_sentences(study: StudyConfig) -> list[str]:
    """Of whom figures are in-sample, where transforms adapt to sites that do not train."""
    whom = {"held-out": "their held-out healthy people", "everybody": "all their people, patients too, without labels"}
    if study.data.adapt_unseen == "nobody" or not study.transforms:
        return []
    return [
        "At sites with nobody to train on the transforms adapted to "
        f"{whom[study.data.adapt_unseen]} (data.adapt_unseen): what is said there of these people, such as image-level "
        "AUROC, thresholds and calibration, is in-sample."
    ]


def dominance_sentences(results: RunResults) -> list[str]:
    """Which site had more than half of the weights in a round of the federated model: it decided alone."""
    most: dict[str, float] = {}
    for entry in results.rounds:
        for site, share in entry.shares.items():
            if len(entry.outcomes) > 1:
                most[site] = max(share, most.get(site, 0.0))
    return [
        f"{site} had up to {share:.0%} of the weight in a round of the federated model; the study's "
        "federation.largest_share bounds it."
        for site, share in most.items()
        if share > DOMINANT
    ]


def _reason(results: RunResults, site: str, rounds: Sequence[int]) -> str:
    """In brackets, where it was the same in all of them."""
    found = {entry.reasons.get(site, "") for entry in results.rounds if entry.round in rounds}
    return f" ({found.pop()})" if len(found) == 1 and all(found) else ""


def _rounds(rounds: Sequence[int], total: int) -> str:
    if len(rounds) == total:
        return "every round"
    if len(rounds) > 6:
        return f"{len(rounds)} of {total} rounds"
    return f"round{'s' if len(rounds) > 1 else ''} {', '.join(map(str, rounds))}"


def trainings_spread(figure: LeagueFigure, form: str) -> str:
    """The standard deviation over several trainings of the same model in ``form``; nothing for a single one."""
    values = [value for value in figure.trainings if value is not None]
    return form.format(statistics.stdev(values)) if len(values) > 1 else ""


def warnings(results: RunResults, attacks: Mapping[str, str]) -> list[str]:
    """What whoever reads the figures must know first."""
    found = alone_sentences(results)
    partial = participation_sentence(results)
    if partial:
        found.append(partial)
    found += [f"Partial: {site} {reason}." for site, reason in results.left_out.items()]
    found += [f"{name} could not be trained to the end. {reason}" for name, reason in results.failed.items()]
    for name, sites in results.not_served.items():
        reasons = sorted(set(sites.values()))
        found.append(f"{name} serves no model to {', '.join(sites)}: {'; '.join(reasons)}.")
    others = [name for name, sites in results.missing.items() if sites and name != "federated"]
    if others:
        found.append(f"Not every site took part in every round of {', '.join(others)}; see who took part.")
    found += missed_sentences(results)
    found += dominance_sentences(results)
    if attacks:
        found.append(f"Malicious by order: {', '.join(f'{site} ({attack})' for site, attack in attacks.items())}.")
    return found


def interval(found: tuple[float | None, float | None] | None) -> str:
    """Its two ends; nothing for none."""
    if found is None or found[0] is None or found[1] is None:
        return ""
    return f"{number(found[0])}–{number(found[1])}"


def listed(parts: Iterable[str], word: str = "and") -> str:
    """``a, b and c``; empty for none."""
    *first, last = [*parts] or [""]
    return f"{', '.join(first)} {word} {last}" if first else last


def counted(count: int, one: str, many: str) -> str:
    """``1 person``, ``2 people``."""
    return f"{count} {one if count == 1 else many}"


def small(share: float) -> str:
    """A share, with two digits after the zeros where it is so small that three decimals would show one or none."""
    if not 0 < share < 0.01:
        return number(share)
    return f"{share:.{1 - math.floor(math.log10(share))}f}".rstrip("0")  # never as 4e-05


def number(value: float | None) -> str:
    """Three digits or so; a dash for none."""
    if value is None:
        return "–"
    return minus(f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}")


def minus(number: str) -> str:
    """A number in text with a minus for people, which is no hyphen."""
    return number.replace("-", "−")


def p_value(value: float) -> str:
    """Never zero."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def rate(found: Rate | None) -> str:
    """A share in percent, with what is left open of it in brackets; a dash for none."""
    if found is None:
        return "–"
    low, high = percent(found.low), percent(found.high)
    return f"{percent(found.value)} %" if low == high else f"{percent(found.value)} % ({low}–{high})"


def percent(share: float) -> str:
    """Two digits or so."""
    return f"{100 * share:.2g}" if share < 0.1 else f"{100 * share:.0f}"


def signed(value: float | None) -> str:
    """A difference; a dash for none."""
    if value is None:
        return "–"
    shown = f"{value:+.3f}"
    return shown[1:] if float(shown) == 0 else minus(shown)


def capital(text: str) -> str:
    """A sentence's beginning; names in it keep their case."""
    return f"{text[:1].upper()}{text[1:]}"
