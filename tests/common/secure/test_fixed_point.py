import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normfed_common.secure.fixed_point import FixedPoint, Multiples, RangeError, WidePoint

BITS = st.sampled_from([32, 64])
RANGES = st.floats(1e-3, 1e15)


@given(BITS, RANGES, st.integers(1, 1000))
def test_no_sum_of_all_sites_wraps_and_twice_the_scale_might(bits, largest, sites):
    point = FixedPoint(bits, largest, sites)
    assert sites * (point.encode(np.array([largest])).astype(object)[0]) <= 2 ** (bits - 1) - 1
    assert sites * (largest * 2 * point.scale + 0.5) > 2 ** (bits - 1) - 1
    assert math.frexp(point.scale)[0] == 0.5  # a power of two


@given(BITS, RANGES, st.integers(1, 40), st.data())
def test_a_sum_is_off_by_half_the_resolution_per_site_at_most(bits, largest, sites, data):
    point = FixedPoint(bits, largest, sites)
    values = data.draw(hnp.arrays(np.float64, (sites, 3), elements=st.floats(-largest, largest)))
    total = sum((point.encode(row) for row in values), np.zeros(3, point.encode(values[0]).dtype))
    exact = np.array([math.fsum(column) for column in values.T])
    rounding = np.spacing(largest) * sites + np.spacing(largest * sites)  # of float64 itself: each part, and the sum
    assert (np.abs(point.decode(total) - exact) <= sites * point.resolution / 2 + rounding).all()


def test_the_largest_sums_of_either_sign_are_met():
    for bits in (32, 64):
        point = FixedPoint(bits, 8.0, 23)
        for sign in (1, -1):
            total = sum(
                (point.encode(np.array([sign * 8.0])) for _ in range(23)), np.zeros(1, point.encode(np.zeros(1)).dtype)
            )
            assert point.decode(total)[0] == sign * 23 * 8


def test_the_resolutions_that_the_module_states():
    assert FixedPoint(32, 8.0, 23).resolution == pytest.approx(1.2e-7, rel=0.05)
    assert WidePoint(64, 1e12, 23).resolution == pytest.approx(6.6e-24, rel=0.05)


@pytest.mark.parametrize("value", [8.000001, -9.0, np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("bits", [32, 64])
def test_what_is_beyond_the_range_or_no_number_is_refused(bits, value):
    with pytest.raises(RangeError, match="is not within 8"):
        FixedPoint(bits, 8.0, 4).encode(np.array([0.0, value, 1.0]))


def test_counts_are_exact_and_nothing_stays_nothing():
    point = FixedPoint(64, 1e12, 23)
    counts = np.array([0.0, 1.0, 123456789.0])
    np.testing.assert_array_equal(point.decode(point.encode(counts)), counts)


@given(BITS, st.floats(1e-3, 1e12), st.integers(1, 40), st.data())
def test_two_integers_hold_a_sum_to_the_last_bits_of_float64(bits, largest, sites, data):
    point = WidePoint(bits, largest, sites)
    values = data.draw(hnp.arrays(np.float64, (sites, 2), elements=st.floats(-largest, largest)))
    total = sum((point.encode(row) for row in values), np.zeros_like(point.encode(values[0])))
    exact = np.array([math.fsum(column) for column in values.T])
    rounding = 4 * np.spacing(np.abs(exact)) + sites * point.resolution
    assert (np.abs(point.decode(total) - exact) <= rounding).all()


def test_a_square_of_one_person_is_that_person_s_sum_squared_however_small():
    """What models hold sums against squares by: (sum y)^2 <= n sum y^2 (1 + 1e-6), here with one person of 23 sites."""
    point = WidePoint(64, 1e12, 23)
    for value in (20.0, 1.0, 1e-3, 1e-6, 1e-8, 0.0):
        first, second = (float(point.decode(point.encode(np.array(x)))) for x in (value, value**2))
        assert first**2 == pytest.approx(second, rel=1e-6)


STEPS = st.floats(1e-12, 1e3)


@given(STEPS, st.lists(st.lists(st.integers(-(2**50), 2**50), min_size=3, max_size=3), min_size=1, max_size=20))
def test_whole_steps_of_a_grid_are_added_up_exactly_whatever_the_step(step, sites):
    multiples = Multiples(step)
    with np.errstate(over="ignore"):
        total = sum((multiples.encode(np.array(row, np.float64) * step) for row in sites), np.zeros(3, np.uint64))
    np.testing.assert_array_equal(total.view("<i8"), np.sum(np.array(sites, object), 0).astype(np.int64))
    np.testing.assert_array_equal(multiples.decode(total), total.view("<i8") * step)


@pytest.mark.parametrize("value", [0.5, 1 + 1e-9, 2.0**51, np.nan, -np.inf])
def test_what_is_no_whole_step_or_too_many_is_refused(value):
    with pytest.raises(RangeError):
        Multiples(1.0).encode(np.array([0.0, value]))
