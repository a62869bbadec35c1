"""What files hold, counted on the public grid: a scale moves it by as many bins, whatever the study."""

from __future__ import annotations

import numpy as np
import pytest
from jobs import STUDY

from normfed_client.describing.raw import binned
from normfed_common.statistics.tables import by_name

TABLE = by_name(STUDY)["raw-T1w"]


def test_values_are_counted_as_numpy_counts_them() -> None:
    values = np.random.default_rng(0).gamma(2, 300, 5000)
    ends = [-np.inf, *TABLE.edges[1:], np.inf]
    np.testing.assert_array_equal(binned(values, TABLE), np.histogram(values, ends)[0])


@pytest.mark.parametrize("value", [-3.0, 0.0, 0.0999, 1e9])
def test_numbers_beyond_the_grid_are_in_its_ends(value: float) -> None:
    assert binned(np.array([value]), TABLE)[-1 if value > 1 else 0] == 1


def test_another_rescale_slope_moves_a_file_by_as_many_bins() -> None:
    values = np.random.default_rng(1).gamma(4, 50, 3000) + 1
    np.testing.assert_array_equal(binned(10 * values, TABLE), np.roll(binned(values, TABLE), 10))
