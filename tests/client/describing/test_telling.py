"""What is told of a hospital's tables tells nothing of fewer people than the minimum, over however many requests."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from normfed_client.describing.telling import everything, told
from normfed_client.hospital.blocks import Member, releasable
from normfed_common.foundation.arrays import Arrays
from normfed_common.statistics.tables import SEXES, Table

BINS = 5
TABLE = Table("field", "field", tuple("abcde"), "field")
RAW = Table("raw", "raw", tuple("abcde"), "raw", shares=True, whole=True)
SHARES = Table("intensity", "intensity", tuple("abcde"), "scan", shares=True)
AGES = tuple(Table(f"age-{sex}", sex, tuple("abcde"), "age") for sex in SEXES)


def members(numbers: list[int], version: str = "v") -> list[Member]:
    return [Member(f"{number:03d}", version) for number in numbers]


def one_hot(bins: list[int]) -> np.ndarray:
    return np.eye(BINS)[bins]


def cells(array: np.ndarray) -> list[tuple[int, int, float]]:
    return [(int(first), int(last), float(array[first, last])) for first, last in np.argwhere(array > 0)]


def test_neighbours_are_added_up_until_enough_people_are_in_them() -> None:
    weights = {"field": one_hot([0] * 3 + [1] * 12 + [2] * 4 + [3] * 7 + [4] * 11)}
    arrays, _ = told((TABLE,), weights, members(list(range(37))), 10, {})
    assert cells(arrays["field"]) == [(0, 1, 15.0), (2, 3, 11.0), (4, 4, 11.0)]


def test_what_is_left_of_the_total_is_no_small_cell() -> None:
    """Nine beside ten would be the difference of all and the ten."""
    weights = {"field": one_hot([0] * 10 + [4] * 9)}
    arrays, _ = told((TABLE,), weights, members(list(range(19))), 10, {})
    assert cells(arrays["field"]) == [(0, 4, 19.0)]


def test_a_simulation_tells_every_bin() -> None:
    arrays = everything((TABLE,), {"field": one_hot([0, 2, 2, 4])})
    assert cells(arrays["field"]) == [(0, 0, 1.0), (2, 2, 2.0), (4, 4, 1.0)]


def test_a_second_request_with_one_person_fewer_tells_nothing_where_it_would_tell_of_that_one() -> None:
    bins = [0] * 12 + [1] * 12
    people = members(list(range(24)))
    _, first = told((TABLE,), {"field": one_hot(bins)}, people, 10, {})
    arrays, second = told((TABLE,), {"field": one_hot(bins[1:])}, people[1:], 10, first)
    assert (cells(arrays["field"]), second) == ([], {})


def test_who_moved_to_another_bin_is_not_told_by_the_difference() -> None:
    """As after an age was corrected."""
    people = members(list(range(24)))
    _, first = told((TABLE,), {"field": one_hot([0] * 12 + [4] * 12)}, people, 10, {})
    arrays, _ = told((TABLE,), {"field": one_hot([0] * 11 + [4] * 13)}, people, 10, first)
    assert cells(arrays["field"]) == [(0, 4, 24.0)]


@pytest.mark.parametrize(("women", "shown"), [(12, {"age-F": 12.0, "age-M": 14.0}), (3, {"age-unknown": 17.0})])
def test_ages_are_told_by_sex_only_where_enough_are_of_either(women: int, shown: dict[str, float]) -> None:
    sexes = ["F"] * women + ["M"] * 14
    weights = {f"age-{sex}": one_hot([2] * len(sexes)) * (np.array(sexes) == sex)[:, None] for sex in SEXES}
    arrays, _ = told(AGES, weights, members(list(range(len(sexes)))), 10, {})
    assert {name: array.sum() for name, array in arrays.items() if array.any()} == shown


def test_few_who_lack_a_scan_are_counted_as_the_mean_of_the_others() -> None:
    having = np.array([[0.2, 0.3, 0.5, 0, 0]] * 6 + [[0.4, 0.3, 0.3, 0, 0]] * 6)
    weights = {"intensity": np.vstack([having, np.zeros((2, BINS))])}
    arrays, _ = told((SHARES,), weights, members(list(range(14))), 10, {})
    np.testing.assert_allclose(np.diag(arrays["intensity"]), having.mean(0) * 14)


def test_a_bin_that_is_one_person_s_is_told_with_others_only() -> None:
    """Everybody has a voxel in the last bin, and one has nearly all of it."""
    few = np.array([0.5, 0.499, 0, 0, 0.001])
    weights = {"intensity": np.vstack([np.tile(few, (11, 1)), [0.1, 0.1, 0, 0, 0.8]])}
    arrays, _ = told((SHARES,), weights, members(list(range(12))), 10, {})
    assert arrays["intensity"][4, 4] == 0
    np.testing.assert_allclose(arrays["intensity"].sum(), 12)


subsets = st.sets(st.integers(0, 23), min_size=6)


@settings(max_examples=40)
@given(
    bins=st.lists(st.integers(0, BINS - 1), min_size=24, max_size=24),
    wanted=st.lists(subsets, min_size=1, max_size=3),
    minimum=st.integers(2, 6),
)
def test_no_hidden_cell_can_be_bounded_more_tightly_than_the_minimum(
    bins: list[int], wanted: list[set[int]], minimum: int
) -> None:
    """From all that ever left, by linear programming: how many people of each pattern of requests are in each bin."""
    earlier: dict[str, list[frozenset[Member]]] = {}
    sets: list[frozenset[Member]] = []
    answers: list[tuple[frozenset[Member], Arrays]] = []
    for numbers in wanted:
        people = sorted(releasable(members(sorted(numbers)), sets, minimum, lambda person: int(person) / 99))
        if not people:
            continue
        sets.append(frozenset(people))
        weights = {"field": one_hot([bins[int(p.person)] for p in people])}
        arrays, now = told((TABLE,), weights, people, minimum, earlier)
        for family, found in now.items():
            earlier.setdefault(family, []).extend(found)
        answers.append((sets[-1], arrays))
    of = {m: tuple(m in people for people in sets) for m in set().union(*sets)} if sets else {}
    atoms = [(pattern, place) for pattern in sorted(set(of.values())) for place in range(BINS)]
    truth = {atom: sum((of[m], bins[int(m.person)]) == atom for m in of) for atom in atoms}
    rows, totals = [], []
    for number, (people, arrays) in enumerate(answers):
        rows.append([float(pattern[number]) for pattern, _ in atoms])  # how many people a request is about is told
        totals.append(float(len(people)))
        for first, last, count in cells(arrays["field"]):
            rows.append([float(pattern[number] and first <= place <= last) for pattern, place in atoms])
            totals.append(count)
        if arrays["field"].any():  # nobody is in bins of no run
            runs = [(first, last) for first, last, _ in cells(arrays["field"])]
            for place in range(BINS):
                if not any(first <= place <= last for first, last in runs):
                    rows.append([float(pattern[number] and at == place) for pattern, at in atoms])
                    totals.append(0.0)
    for at, atom in enumerate(atoms):
        if 0 < truth[atom] < minimum:
            aim = np.eye(len(atoms))[at]
            low, high = (linprog(sign * aim, A_eq=rows, b_eq=totals, bounds=(0, None)) for sign in (1, -1))
            assert -high.fun - low.fun >= minimum - 1e-6, (atom, truth[atom], low.fun, -high.fun)


@given(bins=st.lists(st.integers(0, BINS - 1), min_size=1, max_size=40), minimum=st.integers(2, 8))
def test_whatever_is_told_is_of_everybody_and_of_enough_in_every_cell(bins: list[int], minimum: int) -> None:
    arrays, _ = told((TABLE,), {"field": one_hot(bins)}, members(list(range(len(bins)))), minimum, {})
    found = cells(arrays["field"])
    assert sum(count for _, _, count in found) == (len(bins) if len(bins) >= minimum else 0)
    assert all(count >= minimum for _, _, count in found)
    for (_, last, _), (first, _, _) in pairwise(found):
        assert last < first
    for first, last, count in found:
        assert count == sum(first <= place <= last for place in bins)


def shares_of(rows: list[list[int]]) -> np.ndarray:
    parts = np.array(rows, float)
    return parts / np.maximum(parts.sum(1, keepdims=True), 1)


ALIKE, LAST = [1, 1, 1, 0, 0], [1, 1, 1, 0, 1]
TAKEN_AWAY = [LAST, *[ALIKE] * 5, *[LAST] * 18]  # of the first six, one has something in the last bin


@settings(max_examples=60)
@example(rows=TAKEN_AWAY, wanted=[set(range(24)), set(range(6, 24))], minimum=2)
@given(
    rows=st.lists(st.lists(st.integers(0, 3), min_size=BINS, max_size=BINS).filter(any), min_size=24, max_size=24),
    wanted=st.lists(subsets, min_size=1, max_size=4),
    minimum=st.integers(2, 6),
)
def test_whatever_sum_of_shares_can_be_worked_out_is_of_enough_people(
    rows: list[list[int]], wanted: list[set[int]], minimum: int
) -> None:
    """From all that ever left, by the rank of the equations: of which blocks of people the share in which bins."""
    weights = shares_of(rows)
    earlier: list[frozenset[Member]] = []
    answers: list[tuple[set[int], list[tuple[int, int, float]]]] = []
    growing: list[set[int]] = []
    for numbers in wanted:
        growing.append(growing[-1] | numbers if growing and len(numbers) % 2 else numbers)
    for numbers in growing:
        people = members(sorted(numbers))
        arrays, now = told((RAW,), {"raw": weights[sorted(numbers)]}, people, minimum, {"raw": earlier})
        if now:
            earlier += [cell for cell in now["raw"] if cell not in earlier]
            answers.append((numbers, cells(arrays["raw"])))
    if not answers:
        return
    pattern = {n: tuple(n in people for people, _ in answers) for n in range(24)}
    blocks = sorted({p for p in pattern.values() if any(p)})
    equations = [
        [float(block[number] and first <= place <= last) for block in blocks for place in range(BINS)]
        for number, (_, found) in enumerate(answers)
        for first, last, _ in found
    ]
    known, rank = np.array(equations), np.linalg.matrix_rank(equations)
    for at, block in enumerate(blocks):
        inside = [n for n in range(24) if pattern[n] == block]
        for first in range(BINS):
            for last in range(first, BINS):
                aim = np.zeros((len(blocks), BINS))
                aim[at, first : last + 1] = 1
                if np.linalg.matrix_rank(np.vstack([known, aim.ravel()])) > rank:
                    continue
                share = weights[inside, first : last + 1].sum(1)
                if share.any():
                    assert np.count_nonzero(share) >= minimum, (block, first, last)
                    assert share.max() <= share.sum() / 2 + 1e-9


def test_what_scanners_made_is_told_bin_by_bin_though_people_have_different_bins() -> None:
    """By those who have some in a bin it would be one run."""
    rng = np.random.default_rng(0)
    rows = [[int(v) for v in rng.multinomial(40, [0.1, 0.2, 0.3, 0.25, 0.15])] for _ in range(20)]
    for row in rows[::3]:
        row[4] = 0
    arrays, found = told((RAW,), {"raw": shares_of(rows)}, members(list(range(20))), 10, {})
    assert len(cells(arrays["raw"])) == BINS
    assert [len(cell) for cell in found["raw"]] == [20]


def test_nothing_is_told_of_scanners_numbers_once_somebody_of_an_earlier_sum_is_missing() -> None:
    weights = shares_of([[1, 2, 3, 2, 1]] * 40)
    _, first = told((RAW,), {"raw": weights[:30]}, members(list(range(30))), 10, {})
    more, _ = told((RAW,), {"raw": weights}, members(list(range(40))), 10, first)
    fewer, now = told((RAW,), {"raw": weights[:20]}, members(list(range(20))), 10, first)
    assert len(cells(more["raw"])) == BINS
    assert (cells(fewer["raw"]), now) == ([], {})
