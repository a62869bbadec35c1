"""Whether those who were tested are of other ages than those trained on: then what looks abnormal may be age."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from normfed_common.metrics.subjects import image_auroc

APART = 0.9  # chance that somebody tested is older than somebody trained on, from which on ages hardly overlap
FEWEST = 3  # people on either side, with fewer of whom nothing is said


@dataclass(frozen=True)
class Ages:
    """In years, as far as a dataset tells them; only a simulation may look.

    Parameters
    ----------
    trained
        Of the people from whom the federated model learns.
    tested
        Of those whom it is tested on.
    """

    trained: tuple[float, ...] = ()
    tested: tuple[float, ...] = ()

    def sentences(self) -> list[str]:
        """That they hardly overlap, and what follows; nothing where they do, or too few are known."""
        if min(len(self.trained), len(self.tested)) < FEWEST:
            return []
        older = image_auroc(np.array(self.trained), np.array(self.tested))
        if 1 - APART < older < APART:
            return []
        return [
            f"Where ages are known nearly all who were tested ({_years(self.tested)}) are "
            f"{'older' if older > 0.5 else 'younger'} than those whom the model learnt from ({_years(self.trained)}): "
            "what looks abnormal may be their age."
        ]


def _years(ages: Sequence[float]) -> str:
    return f"{len(ages)}: {min(ages):.0f} to {max(ages):.0f} years, median {statistics.median(ages):.0f}"
