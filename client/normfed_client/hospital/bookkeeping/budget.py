"""How much of its people's privacy a hospital spends at most: on one model, in a year, and for life.

A patient may be in every cohort, so all releases count together, whatever study or model they were for. Among cohorts
that share nobody less is spent than the ledger says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import Field, model_validator

from normfed_client.hospital.bookkeeping.entries import Entry
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.privacy import accounting
from normfed_common.study.base import Frozen
from normfed_common.study.privacy import PrivacyConfig

ROUNDING = 1e-6  # of epsilon: the same releases in another order
YEAR = timedelta(days=365)  # a calendar year's budget could be spent twice around New Year


class BudgetRules(Frozen):
    """What a hospital allows to be spent, in its site.yaml."""

    epsilon_per_year: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="privacy that all studies together may spend within any 365 days, per patient; a study "
        "without differential privacy is refused once this, epsilon_for_life or largest_epsilon is set",
    )
    epsilon_for_life: float | None = Field(None, gt=0, le=10_000, description="the same, of all years together")
    budget_delta: float = Field(1e-5, gt=0, lt=1, description="delta of both; far below one over the people")
    largest_epsilon: float | None = Field(
        None, gt=0, le=1000, description="most that one model of a study may spend; a study with more is refused"
    )
    largest_delta: float = Field(
        1e-5, gt=0, lt=1, description="the same of privacy.delta, where studies must have differential privacy"
    )
    require_privacy: bool = Field(
        False,
        description="whether a study without differential privacy of patients is refused; needs largest_epsilon or a "
        "budget beside it, or a study with any epsilon would do",
    )

    @model_validator(mode="after")
    def _something_bounds_epsilon(self) -> BudgetRules:
        if self.require_privacy and not self.limited and self.largest_epsilon is None:
            raise ValueError(
                "require_privacy bounds nothing by itself: a study with an epsilon of 1000 has differential privacy "
                "and protects nobody. Add largest_epsilon, such as 4; better a budget as well, such as "
                "epsilon_per_year: 8"
            )
        return self

    @property
    def limited(self) -> bool:
        """Whether there is a budget."""
        return self.epsilon_per_year is not None or self.epsilon_for_life is not None

    @property
    def demanding(self) -> str:
        """Which of these rules lets nothing out that is learnt of people without noise; empty where none does."""
        rules = {
            "require_privacy": self.require_privacy,
            "largest_epsilon": self.largest_epsilon is not None,
            "epsilon_per_year": self.epsilon_per_year is not None,
            "epsilon_for_life": self.epsilon_for_life is not None,
        }
        return next((name for name, there in rules.items() if there), "")

    def check_privacy(self, privacy: PrivacyConfig) -> None:
        """Hold a study's privacy against these rules, whatever is left of the budget.

        Raises
        ------
        SiteError
            If people must be protected and are not, or not enough.
        """
        name = self.demanding
        if not name:
            return
        if not of_people(privacy):
            detail = f"{name} is set, and the study has no privacy.epsilon, or privacy.unit is not patient"
            raise SiteError(SiteCode.PRIVACY_REQUIRED, detail)
        assert privacy.epsilon is not None
        for of, asked, most in (
            ("epsilon", privacy.epsilon, self.largest_epsilon),
            ("delta", privacy.delta, self.largest_delta),
        ):
            if most is not None and asked > most:
                detail = (
                    f"privacy.{of}: the study says {asked:g}, and largest_{of} of site.yaml is {most:g}: it would "
                    f"protect this hospital's people less than the hospital asks. Ask for a study with {most:g}, or "
                    f"raise largest_{of}."
                )
                raise SiteError(SiteCode.TOO_LITTLE_PRIVACY, detail)


def of_people(privacy: PrivacyConfig) -> bool:
    """Whether a study protects people, and not one sample of a person at a time."""
    return privacy.epsilon is not None and privacy.unit == "patient"


def spent(entries: Iterable[Entry], delta: float) -> float:
    """Epsilon of what was released; infinite where something was without noise. What stays is not counted."""
    return accounting.epsilon((m for entry in entries if counts(entry) for m in entry.release.spent), delta)


def counts(entry: Entry) -> bool:
    """Whether an entry is about what left."""
    return entry.release.kind != "stays"


def within_a_year(entries: Iterable[Entry], time: str) -> list[Entry]:
    """Those that are less than 365 days old at a time (UTC, ISO 8601)."""
    oldest = datetime.fromisoformat(time) - YEAR
    return [entry for entry in entries if datetime.fromisoformat(entry.time) > oldest]


def lately(entries: Sequence[Entry]) -> list[Entry]:
    """Those of the last 365 days as the next release will find them: by the clock, or if that was set back by the last
    entry."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return within_a_year(entries, max([now, *(entry.time for entry in entries[-1:])]))


def refusal(rules: BudgetRules, entries: Sequence[Entry], new: Entry) -> str:
    """Why an entry must not follow the others, with what is left of the budget; nothing where it may."""
    if not counts(new):
        return ""
    if new.release.kind == "without noise" and rules.demanding:
        return (
            f"{rules.demanding}: is set, and {new.release.what} of {new.release.arm} would tell what was learnt of "
            "people without noise: of a model that stays at the site, or is fitted to its people. Ask for a study "
            "without such a strategy or model."
        )
    limits = (
        ("epsilon_per_year", rules.epsilon_per_year, within_a_year(entries, new.time), "in the last 365 days"),
        ("epsilon_for_life", rules.epsilon_for_life, entries, "so far"),
    )
    for name, limit, before, when in limits:
        if limit is None:
            continue
        after = spent([*before, new], rules.budget_delta)
        if after > limit:
            return _sentence(name, limit, before, new, after, when, rules.budget_delta)
    return ""


def beyond_study(privacy: PrivacyConfig, entries: Sequence[Entry], new: Entry) -> str:
    """Why an entry must not follow the others, as one model would cost more than its study says; nothing where it may.

    An honest server never asks for so much: what it asks for again is the same, and has its entry.
    """
    if privacy.epsilon is None or new.release.kind != "noise":
        return ""
    of = (new.release.run, new.release.arm)
    found = spent([*(e for e in entries if (e.release.run, e.release.arm) == of), new], privacy.delta)
    if found <= privacy.epsilon * (1 + ROUNDING):
        return ""
    return (
        f"privacy.epsilon: the study says {privacy.epsilon:g} per patient and model, and with {new.release.what} of "
        f"{new.release.arm} it would be {_number(found)}: the server asks for more, or in other ways, than the study "
        "takes. Begin a new run."
    )


def _sentence(
    name: str, limit: float, before: Sequence[Entry], new: Entry, after: float, when: str, delta: float
) -> str:
    clear = next((e for e in before if e.release.kind == "without noise"), None)
    if clear is not None:
        return (
            f"{name}: is {limit:g}, but {clear.release.what} of {clear.release.arm} in run {clear.release.run} left "
            f"without noise on {clear.time[:10]}, so that no epsilon bounds what was told {when}. Nothing more is "
            "released with a budget set; normfed site ledger lists such releases."
        )
    found, asked = spent(before, delta), f"{new.release.what} of {new.release.arm}"
    wait = "Ask"
    if name == "epsilon_per_year" and found:
        first = datetime.fromisoformat(next(e.time for e in before if counts(e))) + YEAR
        wait = f"Wait until {first:%Y-%m-%d}, when the first of it is a year old, ask"
    return (
        f"{name}: {found:.3g} of {limit:g} is spent {when}, {max(limit - found, 0.0):.3g} is left (at delta "
        f"{delta:g}). With {asked} it would be {_number(after)}. {wait} for a study with a smaller "
        f"privacy.epsilon, or raise {name} in site.yaml."
    )


def _number(epsilon: float) -> str:
    return "without bound" if math.isinf(epsilon) else f"{epsilon:.3g}"
