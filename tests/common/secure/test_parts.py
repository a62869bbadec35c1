import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from secure_sites import Federation, names

from normfed_common.foundation.errors import WireError
from normfed_common.secure import parts
from normfed_common.secure.fixed_point import FixedPoint, RangeError, WidePoint
from normfed_common.secure.keystream import TYPES

BASE = {"a/b": np.ones((2, 3), np.float32), "c": np.float32(2) * np.ones((), np.float32)}


@given(st.lists(st.integers(1, 100_000), min_size=4, max_size=8), st.integers(0, 2**32))
def test_the_mean_of_masked_parts_is_the_mean_weighted_by_people(people, seed):
    rng, count = np.random.default_rng(seed), len(people)
    point = FixedPoint(32, 8.0, count)
    updates = [{name: (a + rng.uniform(-8, 8, a.shape)).astype(np.float32) for name, a in BASE.items()} for _ in people]
    updates = [{n: np.clip(a, BASE[n] - 8, BASE[n] + 8).astype(np.float32) for n, a in u.items()} for u in updates]
    losses = rng.uniform(0, 300, count)
    made = [
        parts.of_update(u, BASE, n, max(people), loss, point)
        for u, n, loss in zip(updates, people, losses, strict=True)
    ]
    total = {name: sum((part[name] for part in made), np.zeros_like(made[0][name])) for name in made[0]}
    assert int(total[parts.PEOPLE]) == sum(people)
    found = parts.mean_update(total, BASE, sum(people), max(people), point)
    tolerance = count * point.resolution / 2 * max(people) / sum(people) + 2e-6  # and of float32 up to 10
    for name in BASE:
        expected = np.average([u[name] for u in updates], axis=0, weights=people)
        np.testing.assert_allclose(found[name], expected, atol=tolerance)
        assert found[name].dtype == np.float32
        assert found[name].shape == BASE[name].shape
    expected_loss = np.average(losses, weights=people)
    assert parts.mean_loss(total, sum(people), max(people), point) == pytest.approx(expected_loss, rel=1e-9)


def test_the_loss_is_cut_to_the_range_and_may_be_absent():
    point = FixedPoint(32, 8.0, 4)
    large = parts.of_update(BASE, BASE, 5, 5, 1e9, point)
    assert parts.mean_loss(large, 5, 5, point) == parts.LARGEST_LOSS
    assert np.isnan(parts.mean_loss(parts.of_update(BASE, BASE, 5, 5, None, point), 5, 5, point))


@pytest.mark.parametrize("change", [8.1, -8.1, np.nan, np.inf])
def test_an_update_beyond_the_range_is_refused_however_few_people_weigh_it_down(change):
    update = BASE | {"c": np.asarray(2 + change, np.float32)}
    with pytest.raises(RangeError):
        parts.of_update(update, BASE, 1, 1000, 0.0, FixedPoint(32, 8.0, 4))


def test_sums_through_masks_and_back_are_the_plain_sums():
    federation = Federation(names(5))
    point = WidePoint(64, 1e12, 5)
    rng = np.random.default_rng(1)
    sums = [{"n": np.asarray(float(i)), "x": rng.normal(0, 1e6, (3, 2))} for i in range(5)]
    made = [parts.of_sums(one, 10, point) for one in sums]
    form = parts.layout(made[0])
    total = sum(federation.masked(site, parts.flat(part, 64)) for site, part in zip(names(5), made, strict=True))
    clear = federation.unmasked(total, names(5), names(5), names(5))
    found = parts.total_sums(parts.shaped(clear, form), point)
    assert found["n"] == 10
    np.testing.assert_allclose(found["x"], sum(one["x"] for one in sums), rtol=1e-15, atol=1e-9)


def test_a_vector_is_put_together_in_the_order_of_names_and_taken_apart_again():
    arrays = {
        "b": np.arange(6, dtype=TYPES[32]).reshape(2, 3),
        "a": np.asarray(9, TYPES[32]),
        "c": np.zeros(0, TYPES[32]),
    }
    vector = parts.flat(arrays, 32)
    np.testing.assert_array_equal(vector, [9, 0, 1, 2, 3, 4, 5])
    found = parts.shaped(vector, parts.layout(arrays))
    assert all(np.array_equal(found[n], a) and found[n].shape == a.shape for n, a in arrays.items())


def test_numbers_of_another_type_are_no_part():
    with pytest.raises(WireError, match="not of uint32"):
        parts.flat({"a": np.zeros(2)}, 32)
