"""What the server step of every algorithm keeps to, on updates of any model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.entries import EVERY_STRATEGY, NONSENSE, Entry, every, not_applicable
from stepping import assert_same_bits, flat, run, step_of

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import StudyError
from normfed_common.studies import validate_strategy
from normfed_server.steps.base import Update
from normfed_server.steps.progress import Progress, load, save

EACH = every(EVERY_STRATEGY)
W = ("scale", "w", "b")
DAMPED = {"fedadam", "fedyogi", "fedadagrad"}


def model(rng: np.random.Generator) -> Arrays:
    return {n: np.asarray(rng.standard_normal(s), np.float32) for n, s in (("scale", ()), ("w", (3, 2)), ("b", (4,)))}


def answers(rng: np.random.Generator, count: int) -> list[Update]:
    return [Update(f"s{i}", i + 1, model(rng), 1.0 + i, 2 + i) for i in range(count)]


def prepared(entry: Entry, start: Arrays) -> Progress:
    progress = Progress([start])
    step_of(entry.raw).prepare(progress, lambda number: {n: a + number for n, a in start.items()})
    return progress


@EACH
def test_of_one_site_the_next_model_is_its_update(entry: Entry) -> None:
    if entry.name in DAMPED:
        not_applicable("its steps are damped; test_adaptive has the paper's formula")
    rng = np.random.default_rng(0)
    progress, found = prepared(entry, model(rng)), answers(rng, 1)
    np.testing.assert_allclose(flat(run(entry.raw, progress, found)), flat(found[0].arrays), rtol=1e-5)


@EACH
def test_the_order_in_which_sites_are_added_changes_nothing_but_the_rounding(entry: Entry) -> None:
    results = []
    for order in (slice(None), slice(None, None, -1)):
        rng = np.random.default_rng(1)
        progress = prepared(entry, model(rng))
        for _ in range(2):
            run(entry.raw, progress, answers(rng, 6)[order])
        results.append((flat(progress.models[0]), {n: np.asarray(a, float) for n, a in progress.memory.items()}))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-4, atol=1e-5)
    assert set(results[0][1]) == set(results[1][1])
    for remembered, array in results[0][1].items():
        np.testing.assert_allclose(array, results[1][1][remembered], rtol=1e-4, atol=1e-5)


@EACH
def test_the_next_model_has_the_names_shapes_and_types_of_the_last_and_no_array_of_it(entry: Entry) -> None:
    """The last model must stay: it comes back if the next one is absurd."""
    rng = np.random.default_rng(2)
    start = model(rng)
    kept = {n: a.copy() for n, a in start.items()}
    progress = prepared(entry, start)
    for _ in range(2):
        run(entry.raw, progress, answers(rng, 6))
    for n, before in kept.items():
        found = progress.models[0][n]
        assert (found.dtype, found.shape) == (before.dtype, before.shape)
        np.testing.assert_array_equal(start[n], before)


@EACH
def test_two_rounds_of_one_step_are_two_rounds_with_a_restart_between(entry: Entry) -> None:
    """All that a step knows of earlier rounds is in the progress."""
    results = []
    for restart in (False, True):
        rng = np.random.default_rng(3)
        progress = prepared(entry, model(rng))
        step = step_of(entry.raw)
        for _ in range(3):
            step = step_of(entry.raw) if restart else step
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


def after_rounds(entry: Entry, merged: bool, sites: int = 6) -> Progress:
    """Two rounds; ``merged``: of one update, the sites' weighted mean with all their people."""
    rng = np.random.default_rng(5)
    raw = {"name": entry.name, **CLUSTERED.get(entry.name, {})}
    progress = prepared(entry, model(rng))
    for _ in range(2):
        found = [replace(u, cluster=i % len(progress.models)) for i, u in enumerate(answers(rng, sites))]
        people = {u.site: int(u.people) for u in found}
        if merged:
            mean = {n: np.average([u.arrays[n] for u in found], axis=0, weights=list(people.values())) for n in W}
            arrays = {n: np.asarray(array, np.float32) for n, array in mean.items()}
            found = [Update("s0", sum(people.values()), arrays, found[0].received_loss, found[0].steps)]
        run(raw, progress, found, people)
    return progress


def kept(progress: Progress) -> list[np.ndarray]:
    """All that the next round begins with."""
    return [*map(flat, progress.models), *([flat(progress.memory)] if progress.memory else [])]


@EACH
def test_a_linear_step_needs_nothing_but_the_weighted_sum_and_no_other_step_is_content_with_it(entry: Entry) -> None:
    expected, found = kept(after_rounds(entry, merged=False)), kept(after_rounds(entry, merged=True))
    same = len(expected) == len(found) and all(
        np.allclose(f, e, rtol=1e-4, atol=1e-5) for f, e in zip(found, expected, strict=True)
    )
    assert same == step_of(entry.raw).linear


@EACH
def test_a_row_is_clustered_where_its_step_can_make_more_than_one_model(entry: Entry) -> None:
    assert (len(after_rounds(entry, merged=False).models) > 1) == ALGORITHMS[entry.name].clustered


@EACH
def test_a_step_that_counts_with_a_claim_says_so(entry: Entry) -> None:
    """A site is checked on what it claims only where the next model depends on it."""
    rng = np.random.default_rng(4)
    start, found = model(rng), answers(rng, 6)
    changed: dict[str, Any] = {"received_loss": 9.0, "steps": 50}
    raw = {**entry.raw, **({"q": 1.0} if entry.name == "qfedavg" else {})}
    for claim, value in changed.items():
        honest, claimed = prepared(entry, start), prepared(entry, start)
        run(raw, honest, found)
        run(raw, claimed, [Update(**{**vars(found[0]), claim: value}), *found[1:]])
        same = all(np.array_equal(a, b) for a, b in zip(everything(honest), everything(claimed), strict=True))
        assert same == (claim not in step_of(raw).claims), claim


def everything(progress: Progress) -> list[np.ndarray]:
    return [*progress.models[0].values(), *progress.memory.values()]


@EACH
def test_of_equal_updates_the_next_model_is_that_update(entry: Entry) -> None:
    if entry.name in DAMPED:
        not_applicable("its steps are damped; test_adaptive has the paper's formula")
    rng = np.random.default_rng(6)
    progress, one = prepared(entry, model(rng)), model(rng)
    found = [Update(f"s{i}", i + 1, one, 1.0, 3) for i in range(5)]
    after = run(entry.raw, progress, found)
    np.testing.assert_allclose(flat(after), flat(one), rtol=1e-5, atol=1e-6)


@EACH
def test_models_and_memory_stay_finite_also_where_an_update_is_huge_or_nothing_changed(entry: Entry) -> None:
    rng = np.random.default_rng(7)
    start = model(rng)
    progress = prepared(entry, start)
    huge = Update("s5", 1, {name: np.float32(1e6) * array for name, array in model(rng).items()}, 1.0, 3)
    still = [Update(f"s{i}", 1, start, 1.0, 3) for i in range(6)]
    for found in ([*answers(rng, 5), huge], still, answers(rng, 6)):
        run(entry.raw, progress, found)
        assert all(np.isfinite(flat(one)).all() for one in (*progress.models, progress.memory) if one)


@EACH
def test_progress_that_was_saved_and_read_back_goes_on_to_the_same_bits(entry: Entry, tmp_path: Path) -> None:
    results = []
    for restart in (False, True):
        rng = np.random.default_rng(8)
        progress = prepared(entry, model(rng))
        for number in range(3):
            run({"name": entry.name, **CLUSTERED.get(entry.name, {})}, progress, answers(rng, 6))
            if restart:
                path = tmp_path / "arms" / str(number) / "progress.safetensors"
                save(path, progress, "study")
                loaded = load(path, "study")
                assert loaded is not None
                progress = loaded
        results.append(progress)
    whole, again = results
    assert (again.round, again.clusters) == (whole.round, whole.clusters)
    for found, expected in zip((*again.models, again.memory), (*whole.models, whole.memory), strict=True):
        assert_same_bits(found, expected)


@EACH
def test_parameters_refuse_nonsense_by_their_name(entry: Entry) -> None:
    with pytest.raises(StudyError, match="moon"):
        validate_strategy({**entry.raw, "moon": 1}, "strategy")
    for name, about in ALGORITHMS[entry.name].parameters.model_fields.items():
        key = about.alias or name
        for nonsense in NONSENSE:
            with pytest.raises(StudyError, match=key):
                validate_strategy({**entry.raw, key: nonsense}, "strategy")
