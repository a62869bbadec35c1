"""How much of its people's privacy a hospital spends at most: per calendar year, and for life.

A patient may be in every cohort, so all releases count together, whatever study or model they were for. Among cohorts
that share nobody less is spent than the ledger says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pydantic import Field

from normfed_client.hospital.ledger import Entry
from normfed_common.privacy import accounting
from normfed_common.study.base import Frozen
from normfed_common.study.privacy import PrivacyConfig

ROUNDING = 1e-6  # of epsilon: the same releases in another order


class BudgetRules(Frozen):
    """What a hospital allows to be spent, in its site.yaml."""

    epsilon_per_year: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="privacy that all studies together may spend in a calendar year (UTC), per patient; a study "
        "without differential privacy is refused once this or epsilon_for_life is set",
    )
    epsilon_for_life: float | None = Field(None, gt=0, le=10_000, description="the same, of all years together")
    budget_delta: float = Field(1e-5, gt=0, lt=1, description="delta of both; far below one over the people")
    require_privacy: bool = Field(
        False, description="whether a study without differential privacy of patients is refused"
    )

    @property
    def limited(self) -> bool:
        """Whether there is a budget."""
        return self.epsilon_per_year is not None or self.epsilon_for_life is not None


def spent(entries: Iterable[Entry], delta: float) -> float:
    """Epsilon of what was released; infinite where something was without noise. What stays is not counted."""
    return accounting.epsilon((m for entry in entries if counts(entry) for m in entry.release.spent), delta)


def counts(entry: Entry) -> bool:
    """Whether an entry is about what left."""
    return entry.release.kind != "stays"


def refusal(rules: BudgetRules, entries: Sequence[Entry], new: Entry) -> str:
    """Why an entry must not follow the others, with what is left of the budget; nothing where it may."""
    if not counts(new):
        return ""
    year = [entry for entry in entries if entry.year == new.year]
    limits = (
        ("epsilon_per_year", rules.epsilon_per_year, year, f"in {new.year}"),
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
    wait = "Wait for the next year, ask" if name == "epsilon_per_year" else "Ask"
    return (
        f"{name}: {found:.3g} of {limit:g} is spent {when}, {max(limit - found, 0.0):.3g} is left (at delta "
        f"{delta:g}). With {asked} it would be {_number(after)}. {wait} for a study with a smaller "
        f"privacy.epsilon, or raise {name} in site.yaml."
    )


def _number(epsilon: float) -> str:
    return "without bound" if math.isinf(epsilon) else f"{epsilon:.3g}"
