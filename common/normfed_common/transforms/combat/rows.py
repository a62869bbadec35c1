"""Features of scans with what ComBat must know of each: the scanner, the person, the covariates that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rows:
    """One row per scan.

    Parameters
    ----------
    values
        float64 (n, p): the features.
    scanners
        (n,): whose features are shifted and scaled alike.
    covariates
        float64 (n, q): what is kept, such as age and sex; NaN where it is not known.
    people
        int (n,): rows of one person have the same number.
    """

    values: np.ndarray
    scanners: np.ndarray
    covariates: np.ndarray
    people: np.ndarray

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        scanners: Sequence[str],
        covariates: np.ndarray | None = None,
        people: Sequence[int] | None = None,
    ) -> Rows:
        """Of plain arrays; without covariates nothing is kept, without people every row is somebody else's.

        Raises
        ------
        ValueError
            If they are not of the same number of rows.
        """
        values = np.asarray(values, np.float64)
        n = len(values)
        kept = np.zeros((n, 0)) if covariates is None else np.asarray(covariates, np.float64)
        owners = np.arange(n) if people is None else np.asarray(people)
        if values.ndim != 2 or kept.ndim != 2 or {len(scanners), len(kept), len(owners)} != {n}:
            raise ValueError(
                f"values {values.shape}, covariates {kept.shape}, {len(scanners)} scanners and {len(owners)} people: "
                "expected (n, p), (n, q), n and n"
            )
        return cls(values, np.asarray(scanners, np.str_), kept, owners)

    def where(self, chosen: np.ndarray) -> Rows:
        """Some of the rows, by index or by bool (n,)."""
        return Rows(self.values[chosen], self.scanners[chosen], self.covariates[chosen], self.people[chosen])

    def by_scanner(self) -> dict[str, Rows]:
        """The rows of each scanner, in the order of their names."""
        return {str(name): self.where(self.scanners == name) for name in np.unique(self.scanners)}

    def usual(self) -> np.ndarray:
        """The mean of each covariate over those of whom it is known, (q,); 0 where it is of nobody."""
        known = np.isfinite(self.covariates)
        total = np.where(known, self.covariates, 0.0).sum(0)
        found: np.ndarray = total / np.maximum(known.sum(0), 1)
        return found

    def filled(self, usual: np.ndarray) -> np.ndarray:
        """The covariates (n, q), those that are not known at what is ``usual`` (q,)."""
        return np.where(np.isfinite(self.covariates), self.covariates, usual)
