"""The entries of a hospital's ledger: what left it, or was kept, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from normfed_common.privacy.mechanisms import SampledGaussian

# Released with noise or without; or trained on people and kept here.
Kind = Literal["noise", "without noise", "stays"]


@dataclass(frozen=True)
class Release:
    """What is about to leave, or to be kept here.

    Parameters
    ----------
    key
        The same for what has the same noise, see `Job.origin`.
    spent
        With how much noise; empty for what stays.
    run, arm, what
        The run, the model and the task.
    """

    key: str
    kind: Kind
    spent: tuple[SampledGaussian, ...]
    run: str
    arm: str
    what: str


@dataclass(frozen=True)
class Entry:
    """A release in the ledger.

    Parameters
    ----------
    time
        When it was reserved (UTC), not before the entry before it.
    settled
        Whether the answer was made; it counts as spent anyway.
    """

    release: Release
    time: str
    settled: bool

    @property
    def year(self) -> int:
        """In which it counts."""
        return int(self.time[:4])
