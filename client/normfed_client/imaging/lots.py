"""A hospital's own division of its people: nothing of a scan is needed for it, nor what reads scans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from normfed_client.imaging.bids import Visit


@dataclass(frozen=True)
class Lots:
    """A hospital's own division of its people.

    Parameters
    ----------
    lot
        Of a person and a purpose: uniform in [0, 1), always the same.
    held_out_share
        Chance of a normal person to be held out.
    test_share
        With lesion-free tissue as normal: chance of a patient to test only.
    """

    lot: Callable[[str, str], float]
    held_out_share: float
    test_share: float

    def held_out(self, person: list[Visit]) -> bool:
        """Whether a normal person is held out from training."""
        return self.lot(person[0].participant.subject, "held out") < self.held_out_share

    def tests(self, person: list[Visit]) -> bool:
        """Whether a patient tests only, in studies that learn from patients' lesion-free tissue."""
        return self.lot(person[0].participant.subject, "test") < self.test_share
