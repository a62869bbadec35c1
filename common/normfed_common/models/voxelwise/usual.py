"""What is usual of intensities in grey matter, white matter and fluid, before anybody's scan is looked at.

Public knowledge, in round numbers: it is taken from people's intensities before these are bounded (see
`learning.parcels`), so that less has to be released. Where it is wrong, noise is larger than it need be; nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from normfed_common.learning.deviations import are_deviations
from normfed_common.learning.parcels import Parcels
from normfed_common.learning.setting import Setting


@dataclass(frozen=True)
class Usual:
    """Of one modality.

    Parameters
    ----------
    tissues
        In grey matter, white matter and fluid.
    away
        Root mean square over a brain of how far a person's means of parcels are from these.
    squares
        The same of mean squares of parcels, of what lies beyond these.
    """

    tissues: tuple[float, float, float]
    away: float
    squares: float


ROBUST = {"T1w": Usual((-0.3, 0.8, -1.5), 0.5, 1.0), "FLAIR": Usual((-0.1, 0.0, -3.0), 0.5, 3.0)}
PERCENTILES = {
    "T1w": Usual((0.5, 0.8, 0.25), 0.12, 0.06),
    "FLAIR": Usual((0.65, 0.65, 0.25), 0.12, 0.06),
    "FA": Usual((0.15, 0.4, 0.1), 0.12, 0.06),
    "MD": Usual((0.3, 0.25, 0.7), 0.12, 0.06),  # of free water's
}
UNKNOWN = {"robust": Usual((0.0, 0.0, 0.0), 1.0, 4.0), "z-score": Usual((0.0, 0.0, 0.0), 1.0, 2.0)}
UNKNOWN_PERCENTILES = Usual((0.5, 0.5, 0.5), 0.3, 0.2)


def usual(setting: Setting, units: Literal["study", "robust"]) -> list[Usual]:
    """Of every modality of a study, in its own units or in robust ones."""
    if units == "robust":
        return [ROBUST.get(name, UNKNOWN["robust"]) for name in setting.modalities]
    if are_deviations(setting.value_range):
        return [UNKNOWN["z-score"]] * len(setting.modalities)
    return [PERCENTILES.get(name, UNKNOWN_PERCENTILES) for name in setting.modalities]


def centre_of(parcels: Parcels, of: list[Usual]) -> np.ndarray:
    """What is usual in every parcel, (P, C)."""
    return parcels.tissues @ np.array([one.tissues for one in of]).T
