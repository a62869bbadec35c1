"""Made-up features of scans of several scanners, of which each shifts and scales them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normfed_common.transforms.combat.rows import Rows


def rows_of(sizes: Sequence[int] = (30, 17, 2, 24), features: int = 12, seed: int = 0) -> Rows:
    """People of ages and sexes that change their features, of so many people at each of the scanners a, b, c, ..."""
    rng = np.random.default_rng(seed)
    scanner = np.repeat(np.arange(len(sizes)), sizes)
    n = len(scanner)
    age, sex = rng.uniform(20, 80, n), rng.integers(0, 2, n).astype(float)
    values = rng.normal(size=(n, features)) * rng.uniform(0.5, 2, features)
    values += np.outer(age, rng.normal(size=features)) * 0.05 + np.outer(sex, rng.normal(size=features))
    values *= rng.uniform(0.6, 1.6, (len(sizes), features))[scanner]
    values += rng.normal(1, 1, (len(sizes), features))[scanner]
    return Rows.of(values, ["abcdefgh"[number] for number in scanner], np.stack([age, sex], 1))


def sites_of(rows: Rows, *sites: str) -> list[Rows]:
    """The rows of several sites: ``ab`` has the scanners a and b."""
    return [rows.where(np.isin(rows.scanners, list(site))) for site in sites]
