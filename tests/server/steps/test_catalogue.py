"""What every server step of the table keeps to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from stepping import flat, run, step_of

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.registry import Registry
from normfed_common.studies import resolve
from normfed_server.steps import catalogue
from normfed_server.steps.base import Step, Update
from normfed_server.steps.catalogue import check_steps
from normfed_server.steps.mean import Mean
from normfed_server.steps.progress import Progress

# A step that is the one update itself where there is one: its other parameters are such that nothing is damped.
PLAIN: dict[str, dict[str, Any]] = {"fedavgm": {"momentum": 0.0}, "qfedavg": {"q": 0.0}, "krum": {"malicious": 0}}
PLAIN |= {"multi-krum": {"malicious": 0}, "prior-clusters": {"clusters": {"x": ["a"]}}}
W = ("scale", "w", "b")
DAMPED = {"fedadam", "fedyogi", "fedadagrad"}


def entry_of(name: str) -> dict[str, Any]:
    return {"name": name, **PLAIN.get(name, {})}


def model(rng: np.random.Generator) -> Arrays:
    return {n: np.asarray(rng.standard_normal(s), np.float32) for n, s in (("scale", ()), ("w", (3, 2)), ("b", (4,)))}


def answers(rng: np.random.Generator, count: int) -> list[Update]:
    return [Update(f"s{i}", i + 1, model(rng), 1.0 + i, 2 + i) for i in range(count)]


def prepared(name: str, start: Arrays) -> Progress:
    progress = Progress([start])
    step_of(entry_of(name)).prepare(progress, lambda number: {n: a + number for n, a in start.items()})
    return progress


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in DAMPED])
def test_of_one_site_the_next_model_is_its_update(name: str) -> None:
    rng = np.random.default_rng(0)
    progress, found = prepared(name, model(rng)), answers(rng, 1)
    np.testing.assert_allclose(flat(run(entry_of(name), progress, found)), flat(found[0].arrays), rtol=1e-5)


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_the_order_in_which_sites_are_added_changes_nothing_but_the_rounding(name: str) -> None:
    results = []
    for order in (slice(None), slice(None, None, -1)):
        rng = np.random.default_rng(1)
        progress = prepared(name, model(rng))
        for _ in range(2):
            run(entry_of(name), progress, answers(rng, 6)[order])
        results.append((flat(progress.models[0]), {n: np.asarray(a, float) for n, a in progress.memory.items()}))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-4, atol=1e-5)
    assert set(results[0][1]) == set(results[1][1])
    for remembered, array in results[0][1].items():
        np.testing.assert_allclose(array, results[1][1][remembered], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_the_next_model_has_the_names_shapes_and_types_of_the_last_and_no_array_of_it(name: str) -> None:
    """The last model must stay: it comes back if the next one is absurd."""
    rng = np.random.default_rng(2)
    start = model(rng)
    kept = {n: a.copy() for n, a in start.items()}
    progress = prepared(name, start)
    for _ in range(2):
        run(entry_of(name), progress, answers(rng, 6))
    for n, before in kept.items():
        found = progress.models[0][n]
        assert (found.dtype, found.shape) == (before.dtype, before.shape)
        np.testing.assert_array_equal(start[n], before)


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_two_rounds_of_one_step_are_two_rounds_with_a_restart_between(name: str) -> None:
    """All that a step knows of earlier rounds is in the progress."""
    results = []
    for restart in (False, True):
        rng = np.random.default_rng(3)
        progress = prepared(name, model(rng))
        step = step_of(entry_of(name))
        for _ in range(3):
            step = step_of(entry_of(name)) if restart else step
            found = answers(rng, 6)
            step.begin(progress, {u.site: int(u.people) for u in found})
            for one in found:
                step.add(one)
            step.end(progress)
            progress.round += 1
        results.append(flat(progress.models[0]))
    np.testing.assert_array_equal(*results)


# Of clusters such that there are two, and of parameters that clip, so that a step is seen at what it is for.
CLUSTERED: dict[str, dict[str, Any]] = {"prior-clusters": {"clusters": {"x": ["s0", "s1"]}, "from_round": 1}}
CLUSTERED |= {"cfl": {"from_round": 1, "standstill": 1.0, "disagreement": 0.0}}


def after_rounds(name: str, merged: bool, sites: int = 6) -> Progress:
    """Two rounds; ``merged``: of one update, the sites' weighted mean with all their people."""
    rng = np.random.default_rng(5)
    entry = {"name": name, **CLUSTERED.get(name, {})}
    progress = prepared(name, model(rng))
    for _ in range(2):
        found = [replace(u, cluster=i % len(progress.models)) for i, u in enumerate(answers(rng, sites))]
        people = {u.site: int(u.people) for u in found}
        if merged:
            mean = {n: np.average([u.arrays[n] for u in found], axis=0, weights=list(people.values())) for n in W}
            arrays = {n: np.asarray(array, np.float32) for n, array in mean.items()}
            found = [Update("s0", sum(people.values()), arrays, found[0].received_loss, found[0].steps)]
        run(entry, progress, found, people)
    return progress


def kept(progress: Progress) -> list[np.ndarray]:
    """All that the next round begins with."""
    return [*map(flat, progress.models), *([flat(progress.memory)] if progress.memory else [])]


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_a_linear_step_needs_nothing_but_the_weighted_sum_and_no_other_step_is_content_with_it(name: str) -> None:
    expected, found = kept(after_rounds(name, merged=False)), kept(after_rounds(name, merged=True))
    same = len(expected) == len(found) and all(
        np.allclose(f, e, rtol=1e-4, atol=1e-5) for f, e in zip(found, expected, strict=True)
    )
    assert same == step_of(entry_of(name)).linear


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_a_row_is_clustered_where_its_step_can_make_more_than_one_model(name: str) -> None:
    assert (len(after_rounds(name, merged=False).models) > 1) == ALGORITHMS[name].clustered


def test_steps_that_count_with_a_claim_say_so() -> None:
    """A site is checked on what it claims only where the next model depends on it."""
    for name in ALGORITHMS:
        rng = np.random.default_rng(4)
        start, found = model(rng), answers(rng, 6)
        changed: dict[str, Any] = {"received_loss": 9.0, "steps": 50}
        for claim, value in changed.items():
            entry = {**entry_of(name), **({"q": 1.0} if name == "qfedavg" else {})}
            honest, claimed = prepared(name, start), prepared(name, start)
            run(entry, honest, found)
            run(entry, claimed, [Update(**{**vars(found[0]), claim: value}), *found[1:]])
            same = all(
                np.array_equal(a, b)
                for a, b in zip(
                    (*honest.models[0].values(), *honest.memory.values()),
                    (*claimed.models[0].values(), *claimed.memory.values()),
                    strict=True,
                )
            )
            assert same == (claim not in step_of(entry).claims), (name, claim)


def test_a_step_that_is_not_here_is_called_by_its_kind_and_those_that_are_by_name() -> None:
    with pytest.raises(StudyError, match=r"No server step is called 'median of means'\. Known: .*'?trimmed mean"):
        catalogue.STEPS["median of means"]


def test_a_step_needs_one_update_but_krum_enough_that_the_honest_are_the_more() -> None:
    """2 f + 3 of n sites: Blanchard 2017."""
    needed = {name: step_of({"name": name}).minimum for name in ALGORITHMS if name not in PLAIN}
    assert set(needed.values()) == {1}
    assert [step_of({"name": name, "malicious": 2}).minimum for name in ("krum", "multi-krum")] == [7, 7]


@pytest.mark.parametrize("beside", [False, True])
def test_a_study_with_a_step_that_is_not_here_is_refused(beside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    strategies = {"comparisons": {"strategies": ["fedyogi"]}} if beside else {"strategy": {"name": "fedyogi"}}
    study = resolve({"name": "x", "data": {"modalities": ["T1w"]}, "model": {"name": "siamese"}, **strategies}, "test")
    check_steps(study)
    monkeypatch.setattr(catalogue, "STEPS", Registry("server step", "normfed.steps", subclass_of=Step))
    for name in ("mean", "momentum"):
        catalogue.STEPS.add(name, Mean)
    with pytest.raises(StudyError, match=r"server step .*'yogi'"):
        check_steps(study)
