"""How fast simulated hospitals are, against the ranges that FeTS published."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, spearmanr

from normfed_simulation.hospital_times import draw

# Pati 2022, Nat. Commun. 13:7346: seconds per person (training, validation) or per model (download, upload).
PUBLISHED = {"train_s": (1.8, 20.7), "validate_s": (9.7, 40.2), "download_s": (13.0, 217.0), "upload_s": (20.0, 431.0)}
MANY = [f"site-{number}" for number in range(400)]


@pytest.mark.parametrize("what", PUBLISHED)
def test_paces_are_log_uniform_within_what_was_measured(what: str) -> None:
    low, high = PUBLISHED[what]
    paces = np.array([getattr(pace, what) for pace in draw(MANY, seed=0).sites.values()])
    assert low <= paces.min()
    assert paces.max() <= high
    assert kstest(np.log(paces / low) / np.log(high / low), "uniform").pvalue > 0.001


def test_a_site_that_trains_slowly_need_not_have_a_slow_link() -> None:
    drawn = np.array([list(pace.model_dump().values()) for pace in draw(MANY, seed=0).sites.values()])
    correlations = spearmanr(drawn).statistic[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 0.2  # four standard errors of 400 draws


def test_a_sites_pace_is_its_own_whoever_else_is_there() -> None:
    alone, among = draw(["b"], seed=3), draw(["a", "b", "c"], seed=3)
    assert alone.sites["b"] == among.sites["b"]
    assert among.sites["a"] != among.sites["b"]
    assert draw(["b"], seed=4).sites["b"] != alone.sites["b"]
    assert (alone.seed, draw([], seed=3).sites) == (3, {})
