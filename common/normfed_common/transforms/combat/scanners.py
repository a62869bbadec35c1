"""How many scanners a ComBat is learnt from, and of which one a scan is."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.setting import SUMS_ROUNDING
from normfed_common.transforms.combat.rows import Rows

SCANNERS = "scanners"  # the name of the sum


def counted_scanners(rows: Rows) -> Arrays:
    """``scanners`` (): how many a site has."""
    return {SCANNERS: np.asarray(float(len(rows.by_scanner())))}


def check_scanners(sums: Arrays) -> None:
    """Whether so many ``scans`` can be of so many ``scanners`` ().

    Raises
    ------
    WireError
        If not.
    """
    check_shapes(sums, {SCANNERS: ()})
    if not 0 < sums[SCANNERS] <= sums["scans"].sum() * (1 + SUMS_ROUNDING):
        raise WireError("there are no scanners, or more than scans")


def is_one_scanner(total: Arrays) -> bool:
    """Whether all scans are of one scanner; sites' sums may be weighted, and of several scanners are 2 at least."""
    return float(total[SCANNERS]) < 1.5


def scanner_of(scanner: str, known: Collection[str]) -> str:
    """The scanner of a scan; of a file by itself, which names none, that of a site with one scanner."""
    return next(iter(known)) if not scanner and len(known) == 1 else scanner
