"""Training that protects people: who is drawn, what noise there is, and that nothing else is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from averaging import KEY, LEAST_P, Averaging, Points, gradients, points, rule, settings
from scipy import stats

from normfed_client.training.loop import TrainingFigures, train


@dataclass
class Lots:
    """Who was in which step."""

    groups: list[list[tuple[int, ...]]]


def drawn(people: int, together: int, q: float, times: int, key: bytes = KEY) -> Lots:
    model = Averaging(together)
    found = Lots([])

    class Counting:
        def gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
            found.groups.append(list(model.shown))
            model.shown.clear()

        def parameters(self, parameters: Sequence[torch.nn.Parameter]) -> None:
            pass

    protecting = rule(q=q, times=times, key=key)
    train(model, Points(points(people)), settings(protecting), Counting())
    return found


def test_everybody_is_in_a_step_by_a_lot_of_their_own() -> None:
    """Each person binomial over the steps, each step's number binomial over people."""
    people, q, times = 6, 0.3, 1500
    lots = drawn(people, 1, q, times)
    present = np.zeros((times, people), bool)
    for step, groups in enumerate(lots.groups):
        for (person,) in groups:
            present[step, person] = True
    for person in range(people):
        assert stats.binomtest(int(present[:, person].sum()), times, q).pvalue > LEAST_P
    counts = np.bincount(present.sum(1), minlength=people + 1)
    expected = times * stats.binom.pmf(range(people + 1), people, q)
    assert stats.chisquare([*counts[:4], counts[4:].sum()], [*expected[:4], expected[4:].sum()]).pvalue > LEAST_P
    table = [[(present[:-1, 0] & present[1:, 0]).sum(), (present[:-1, 0] & ~present[1:, 0]).sum()]]
    table += [[(~present[:-1, 0] & present[1:, 0]).sum(), (~present[:-1, 0] & ~present[1:, 0]).sum()]]
    assert stats.chi2_contingency(table).pvalue > LEAST_P  # nothing of one step is in the next


def test_pairs_are_disjoint_and_every_pair_is_as_likely() -> None:
    times, q = 1500, 0.5
    lots = drawn(5, 2, q, times)
    pairs: dict[frozenset[int], int] = {}
    for groups in lots.groups:
        together = [person for group in groups for person in group]
        assert len(together) == len(set(together))
        for group in groups:
            assert len(group) == 2
            pairs[frozenset(group)] = pairs.get(frozenset(group), 0) + 1
    assert len(pairs) == 10
    assert stats.chisquare(list(pairs.values())).pvalue > LEAST_P
    assert stats.binomtest(sum(pairs.values()), 2 * times, q).pvalue > LEAST_P


def test_a_sample_of_two_people_where_there_is_one_is_of_that_one() -> None:
    assert drawn(1, 2, 1.0, 2).groups == [[(0,)], [(0,)]]


def test_a_step_without_anybody_is_noise_alone_and_its_noise_is_normal() -> None:
    q, z, clip_norm, people = 1e-9, 1.5, 0.25, 6
    model = Averaging()
    found = gradients(model, Points(points(people)), rule(z, q, 3000, clip_norm))
    assert not model.shown
    assert stats.kstest(found.ravel() * q * people, "norm", args=(0, z * clip_norm)).pvalue > LEAST_P


def test_noise_is_added_to_the_sum_once_whoever_is_there() -> None:
    cohort = Points(points(5))
    exact, noisy = (gradients(Averaging(), cohort, rule(z, 0.6, 400, 2.0)) for z in (0.0, 1.5))
    noise = (noisy.astype(np.float64) - exact) * 0.6 * 5
    assert stats.kstest(noise.ravel(), "norm", args=(0, 3.0)).pvalue > LEAST_P


def noise_of(**changes: Any) -> np.ndarray:
    given = {"key": KEY, "seed": 1, "site": "a", "round": 1, "start": 0.0, **changes}
    model = Averaging()
    torch.nn.init.constant_(model.weight.weight, given.pop("start"))
    protecting = rule(1.0, 1e-9, 2, 1.0, key=given.pop("key"))
    return gradients(model, Points(points(4)), protecting, **given)


def test_noise_depends_on_its_key_and_never_on_the_study_s_seed() -> None:
    first = noise_of()
    np.testing.assert_array_equal(noise_of(), first)
    np.testing.assert_array_equal(noise_of(seed=2), first)
    assert not (noise_of(key=bytes(32)) == first).any()
    assert not (first[0] == first[1]).any()  # every step has its own


def test_other_weights_have_other_noise() -> None:
    """Whoever has trained twice under the same noise from two starts tells their difference without noise."""
    assert not (noise_of(start=1.0) == noise_of()).any()


def test_nothing_is_told_of_losses_and_all_steps_are_counted() -> None:
    progress = train(Averaging(), Points(points(3)), settings(rule(1.0, 0.01, 7, 1.0)))
    assert progress == TrainingFigures(None, 0, 7)
