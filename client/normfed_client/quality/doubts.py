"""What a look can find, and what a person can do about it."""

from __future__ import annotations

from typing import Literal

from normfed_common.study.base import Frozen

Kind = Literal[
    "orientation",
    "flipped",
    "coverage",
    "voxels",
    "missing",
    "duplicate",
    "intensity",
    "registration",
    "mask",
    "volume",
    "age",
    "unusual",
    "unusable",
    "few",
]
# Kinds that somebody has to decide on: with them a wrong, or another person's, brain would be learnt from.
SERIOUS: frozenset[Kind] = frozenset(
    {"orientation", "flipped", "coverage", "duplicate", "intensity", "registration", "mask", "volume", "age", "unusual"}
)


class Doubt(Frozen):
    """One thing about one person that somebody should see.

    Parameters
    ----------
    subject
        Whose; empty where it is about the cohort.
    visit
        Which of the visits, such as sub-01_ses-02.
    text
        What was found, and what to do: sentences that name numbers.
    """

    subject: str
    visit: str
    kind: Kind
    text: str

    @property
    def serious(self) -> bool:
        """Whether somebody must decide before a study learns from this person."""
        return self.kind in SERIOUS and bool(self.subject)
