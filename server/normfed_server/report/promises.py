"""What a study's privacy promises, in words that need no mathematics: only what is claimed, and all that is not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from normfed_server.report.words import listed
from normfed_server.results.audit import Protection
from normfed_server.results.guarantees import Guarantee, PrivacyFigures
from normfed_server.results.layout import RunResults

WITHOUT = "Without differential privacy."
SUSPICIONS = (0.01, 0.1, 0.5)
STRONG, MODERATE = 1.0, 10.0  # epsilon per person up to which: Ponomareva 2023, arXiv 2303.00654, section 5.2
DIGITS = 3
ALMOST_SURE = 0.9995


@dataclass(frozen=True)
class Gap:
    """What is not protected, and why that is so."""

    what: str
    why: str


def summary(privacy: PrivacyFigures | None) -> str:
    """One or two sentences, for whoever reads nothing else."""
    if privacy is None:
        return WITHOUT
    found = [_of(guarantee) for guarantee in (privacy.people, privacy.sites) if guarantee is not None] or [WITHOUT]
    if privacy.minimum_sites is not None:
        found.append(f"Secure aggregation: the server sees sums over at least {privacy.minimum_sites} hospitals only.")
    return " ".join(found)


def protected(claim: Protection) -> str:
    """What an audited run claims, for a table."""
    said = ["no differential privacy"]
    if claim.epsilon is not None:
        said = [f"epsilon of at most {upwards(claim.epsilon)} per {claim.unit}"]
    if claim.central_epsilon is not None:
        said.append(f"epsilon of at most {upwards(claim.central_epsilon)} per site")
    if claim.secure_aggregation:
        said.append("secure aggregation")
    return ", ".join(said)


def _of(guarantee: Guarantee) -> str:
    figures = f"epsilon {upwards(guarantee.epsilon)} per {_noun(guarantee)} and model"
    if len(guarantee.models) > 1:
        figures += f", {upwards(guarantee.total)} for all models of the study together"
    if guarantee.unit == "sample":
        return f"Patients are not protected, only single samples of them: {figures}."
    if guarantee.unit == "site":
        return f"Hospitals are protected at a server that they trust: {figures}."
    if of_one_model(guarantee) > MODERATE:
        return f"Patients who were learnt from are protected weakly{_by_whom(guarantee)}: {figures}."
    return f"Patients who were learnt from are protected{_by_whom(guarantee)}: {figures}."


def _by_whom(guarantee: Guarantee) -> str:
    """Who must do what is asked of them, where it is not a patient's own hospital alone."""
    if guarantee.noise_sites == 1:
        return ""
    sites = guarantee.noise_sites
    return f", as long as {sites} hospitals of every sum add their shares of the noise and keep them secret"


def _noun(guarantee: Guarantee) -> str:
    return "hospital" if guarantee.unit == "site" else guarantee.unit


def of_one_model(guarantee: Guarantee) -> float:
    """Epsilon of the model that takes most, as it is told: rounded up."""
    return _up(max((spent.epsilon for spent in guarantee.models.values()), default=0.0), DIGITS)


def factor(epsilon: float) -> str:
    """By how much odds may change: ``55 times``."""
    if epsilon > math.log(1e6):
        return "more than a million times"
    times = math.exp(epsilon)
    return f"{math.ceil(times):,} times" if times >= 10 else f"{_up(times, 2):g} times"


def one_in(delta: float) -> str:
    """A small chance: ``1 in 100,000``."""
    return f"1 in {math.floor(1 / delta + 1e-6):,}"


def suspicions(epsilons: Iterable[float]) -> list[tuple[str, list[str]]]:
    """Of each suspicion what it can become at most by each epsilon, by Bayes' rule on odds."""
    return [(share(before), [at_most(before, epsilon) for epsilon in epsilons]) for before in SUSPICIONS]


def at_most(before: float, epsilon: float) -> str:
    """A probability after odds rose by the factor e^epsilon."""
    after = before / (before + (1 - before) * math.exp(-epsilon))
    told = _up(after, DIGITS)
    return "almost certainty" if told > ALMOST_SURE else share(told)


def share(value: float) -> str:
    """In percent."""
    return f"{100 * value:.3g} %"


def strength(epsilon: float) -> str:
    """How much a promise of so much is worth."""
    if epsilon <= STRONG:
        return "a strong promise"
    if epsilon <= MODERATE:
        return "a moderate promise: how far attacks get against it, an audit measures"
    return "a weak promise, which says little by itself: what it is worth, an audit must measure"


def upwards(value: float) -> str:
    """To a few digits, never less than it is."""
    return f"{_up(value, DIGITS):.{DIGITS}g}"


def rounded(value: float) -> str:
    """To two digits, never as a power of ten."""
    return f"{float(f'{value:.2g}'):,.10g}"


def _up(value: float, digits: int) -> float:
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return math.ceil(value / step - 1e-9) * step


def gaps(results: RunResults) -> list[Gap]:
    """What is not protected, the most important first."""
    privacy = results.privacy
    people = privacy.people if privacy is not None else None
    found = []
    if privacy is None or (people is None and privacy.sites is None):
        found.append(
            Gap(
                "Single patients",
                "no noise was added to anything. What is left are the hospitals' own rules on counts: no number is "
                "about fewer people than their minimum, nor can one be had by subtracting two.",
            )
        )
    if people is not None and people.unit == "sample":
        found.append(
            Gap(
                "Patients as a whole",
                "what is protected is one patch or slice. A patient has many of them, and all of them together may "
                "show who took part.",
            )
        )
    if privacy is not None:
        found += _of_mechanisms(results, privacy)
    return [*found, *_always(results)]


def _of_mechanisms(results: RunResults, privacy: PrivacyFigures) -> list[Gap]:
    found = []
    if privacy.sites is not None and privacy.people is None:
        found.append(
            Gap(
                "Anything from the server itself",
                "noise is added there, after it has seen every hospital's own update. Whoever runs it, or breaks into "
                "it, sees these as they are. What the models tell of a single patient is bounded by twice the epsilon "
                "of the patient's hospital.",
            )
        )
    if privacy.outside and (privacy.people is not None or privacy.sites is not None):
        names = listed(results.title(name) for name in privacy.outside)
        found.append(Gap("Models beside the study's own", f"no guarantee covers {names}."))
    if privacy.people is not None and privacy.people.noise_sites > 1:
        found.append(
            Gap(
                "A patient whose hospital is the only one to add noise",
                f"each hospital adds its share only, so that any {privacy.people.noise_sites} of them add all of it "
                "together. That they do, and keep it secret, is trusted, not checked. If a patient's own hospital were "
                "the only one, "
                f"epsilon would be {upwards(privacy.people.alone)} in the place of "
                f"{upwards(of_one_model(privacy.people))}.",
            )
        )
    if privacy.minimum_sites is not None:
        found.append(
            Gap(
                "The sum of the honest hospitals",
                "secure aggregation hides one hospital among the others of a sum, which are at least "
                f"{privacy.minimum_sites} together. Hospitals that pass their own numbers on to the server leave only "
                "the sum of the others to hide in.",
            )
        )
    return found


def _always(results: RunResults) -> list[Gap]:
    found = [
        Gap(
            "Figures of how well lesions are found, and thresholds",
            "these are of people who are tested or held out, not of those learnt from. They leave as sums and counts "
            "over at least each hospital's minimum of people, without noise.",
        ),
        Gap(
            "That a hospital took part, and how many people it has",
            "both are told openly. So is which rounds it missed.",
        ),
        Gap(
            "What is true of people in general",
            "a model that learns how brains age says something about everybody's brain, also of those who never took "
            "part. No such guarantee hides that, and none should.",
        ),
    ]
    if results.privacy is not None and results.privacy.people is not None:
        found.append(
            Gap(
                "A hospital whose secret is stolen",
                "noise is drawn from a secret in the hospital's folder. Whoever gets hold of it, even years later, can "
                "draw the same noise again and take it off what left.",
            )
        )
        found.append(
            Gap(
                "Parts of models that stay at a hospital",
                "with such strategies as Ditto or fine-tuning, each hospital trains a model, or a part, for itself: "
                "without noise, on the same patients. It never leaves, and the hospital's ledger has a line for it, "
                "as without noise. How well it finds lesions does leave, and no guarantee covers what that says of "
                "these patients.",
            )
        )
        found.append(
            Gap(
                "How long a hospital takes",
                "the server is not told how long the work took, but sees when each answer comes. That depends on the "
                "scans that were worked on, and no noise hides it. How many steps are made, and how many patients are "
                "in each, depends on no scan.",
            )
        )
        found.append(
            Gap(
                "Other studies and other years",
                "this page adds up one study. Each hospital's own ledger adds up all of them, and refuses what goes "
                "beyond the budget that the hospital has set, if it has set one: normfed site ledger.",
            )
        )
    return found
