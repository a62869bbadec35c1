"""What a site says of itself when a run begins."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SiteDescription:
    """What a site says of itself: people per role (BELOW_MINIMUM: some, but too few to say), kinds of lesion."""

    train: int
    held_out: int
    test: int
    kinds: tuple[str, ...]
