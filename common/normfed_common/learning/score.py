"""What a normative model says of a scan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

ANOMALY, UNCERTAINTY = "anomaly", "uncertainty"


@dataclass(frozen=True)
class Score:
    """Maps of one visit, each float32 of shape (X, Y, Z).

    Parameters
    ----------
    anomaly
        Higher = more abnormal; finite and never negative inside the brain, exactly 0 outside.
    uncertainty
        Standard error of the anomaly, in its units; None where the model estimates none.
    extras
        Further maps to show, such as a reconstruction, by names of up to 40 letters and digits.
    remarks
        What whoever reads the maps should know about this scan, a sentence each. They are about one person, and never
        leave the site.

    Raises
    ------
    ValueError
        If a name is of anything else, or a map has another shape than the anomaly.
    """

    anomaly: np.ndarray
    uncertainty: np.ndarray | None = None
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values in self.maps().items():
            if not re.fullmatch(r"[A-Za-z0-9]{1,40}", name):
                raise ValueError(f"a map is called {name!r}, which is not of letters and digits")
            if values.shape != self.anomaly.shape:
                raise ValueError(f"the map {name} has shape {values.shape}, the anomaly {self.anomaly.shape}")

    def maps(self) -> dict[str, np.ndarray]:
        """All of them by name."""
        uncertainty = {} if self.uncertainty is None else {UNCERTAINTY: self.uncertainty}
        return {ANOMALY: self.anomaly, **uncertainty, **self.extras}
