import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from stepping import run, update, vector

from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.mean import RunningMean
from normfed_server.steps.progress import Progress


def mean(updates: dict[str, tuple[int, Arrays]]) -> Arrays:
    running = RunningMean()
    for _, (people, arrays) in sorted(updates.items()):
        running.add({name: array.copy() for name, array in arrays.items()}, people)
    return running.arrays


@given(
    st.lists(
        st.tuples(st.integers(1, 1000), st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3)),
        min_size=1,
        max_size=8,
    )
)
def test_the_mean_is_the_closed_form_weighted_by_people(sites: list[tuple[int, list[float]]]) -> None:
    updates = {f"s{i}": (people, {"w": np.array(values, np.float32)}) for i, (people, values) in enumerate(sites)}
    people = np.array([p for p, _ in sites], float)
    expected = (people[:, None] * np.array([v for _, v in sites])).sum(0) / people.sum()
    found = mean(updates)["w"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_one_site_comes_back_bit_for_bit() -> None:
    weights = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(mean({"a": (7, {"w": weights})})["w"], weights)


def test_the_order_in_which_sites_answer_does_not_matter_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    updates = {
        name: (int(rng.integers(1, 20)), {"w": rng.standard_normal(500).astype(np.float32)}) for name in "abcdef"
    }
    turned = dict(reversed(updates.items()))
    np.testing.assert_array_equal(mean(updates)["w"], mean(turned)["w"])


def test_a_site_with_more_people_weighs_more() -> None:
    found = mean({"a": (3, {"w": np.zeros(1, np.float32)}), "b": (1, {"w": np.ones(1, np.float32)})})
    assert found["w"][0] == 0.25


def test_an_array_of_no_dimension_is_averaged_like_any_other() -> None:
    mean = RunningMean()
    for value in (1.0, 3.0):
        mean.add({"scale": np.float32(2) * np.array(value, np.float32)}, 1)
    assert mean.arrays["scale"] == 4


def test_the_first_update_is_taken_without_a_copy_unless_it_belongs_to_somebody_else() -> None:
    record = np.zeros(8, np.float32)
    fixed = np.zeros(4, np.float32)
    fixed.flags.writeable = False
    own = np.zeros(4, np.float32)
    mean = RunningMean()
    mean.add({"view": record[:4], "fixed": fixed, "own": own}, 1)
    mean.add({name: np.ones(4, np.float32) for name in ("view", "fixed", "own")}, 1)
    assert not record.any()
    assert not fixed.any()
    assert mean.arrays["own"] is own
    for found in mean.arrays.values():
        np.testing.assert_array_equal(found, np.full(4, 0.5))


def test_every_round_is_a_mean_of_its_own() -> None:
    progress = Progress([vector(0.0)])
    assert run("fedavg", progress, [update("a", 8.0, people=100)])["w"] == 8
    assert run("fedavg", progress, [update("a", 1.0, people=1), update("b", 2.0, people=3)])["w"] == 1.75
