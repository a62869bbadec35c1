"""Criteria against their formulas; BIC is held against scikit-learn's in `test_gaussian`."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
from scipy.stats import linregress

from normfed_common.models.mixtures import selection
from normfed_common.models.mixtures.selection import Fit

SLOPE = 3.0


def fits(numbers: tuple[int, ...], enough: int) -> list[Fit]:
    """Likelihoods that rise steeply up to ``enough`` classes, from there by `SLOPE` a parameter; 10 parameters each."""
    return [Fit(k, 500.0 * min(k, enough) + SLOPE * 10 * k, 10 * k) for k in numbers]


def test_the_slope_is_that_among_the_largest_half() -> None:
    rng = np.random.default_rng(0)
    given = [replace(fit, log_likelihood=fit.log_likelihood + rng.normal()) for fit in fits((2, 4, 6, 8, 10, 12), 6)]
    line = linregress([fit.parameters for fit in given[3:]], [fit.log_likelihood for fit in given[3:]])
    expected = [-fit.log_likelihood + 2 * line.slope * fit.parameters for fit in given]
    assert selection.slope_heuristic(given) == pytest.approx(expected, rel=1e-9)


def test_the_slope_heuristic_stops_where_likelihoods_only_rise_by_the_slope_and_bic_goes_on() -> None:
    given = fits((2, 4, 6, 8, 10, 12), enough=6)
    found = selection.choices(given, voxels=100)
    assert selection.best(found, "slope").classes == 6
    assert log(100) / 2 < SLOPE
    assert selection.best(found, "bic").classes == 12


def test_of_few_numbers_there_is_no_slope() -> None:
    assert all(choice.slope is None for choice in selection.choices(fits((2, 4, 6), 4), voxels=100))


def test_a_likelihood_that_falls_with_more_parameters_costs_nothing_less() -> None:
    falling = [Fit(k, -float(k), 10 * k) for k in (1, 2, 3, 4)]
    assert selection.slope_heuristic(falling) == pytest.approx([1.0, 2.0, 3.0, 4.0])


def test_of_equal_fits_the_smallest_is_chosen() -> None:
    found = [selection.Choice(Fit(k, 0.0, k), bic=1.0, slope=1.0) for k in (3, 2)]
    assert selection.best(found, "bic").classes == 2
