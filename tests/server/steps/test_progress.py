"""An arm's progress and the copy before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from normfed_common.foundation.errors import DamagedError, RunError
from normfed_server.steps import progress as checkpoints
from normfed_server.steps.progress import Progress, load, previous, recover, save


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "arms" / "federated" / "progress.safetensors"
    for round in (1, 2, 3):
        save(found, Progress([{"w": np.full(2, float(round))}], round=round), "s")
    return found


def recovered(path: Path) -> tuple[int | None, list[str]]:
    damaged: list[Path] = []
    found = recover(path, "s", lambda copy, error: damaged.append(copy))
    return found and found.round, [copy.name for copy in damaged]


def test_the_last_round_and_the_one_before_are_kept(path: Path) -> None:
    last, before = load(path, "s"), load(previous(path), "s")
    assert last is not None
    assert before is not None
    assert (last.round, before.round) == (3, 2)
    assert sorted(file.name for file in path.parent.iterdir()) == ["progress.previous.safetensors", path.name]


@pytest.mark.parametrize(
    ("broken", "round", "said"),
    [
        ("", 3, []),
        ("last", 2, ["progress.safetensors"]),
        ("last gone", 2, []),
        ("previous", 3, []),
        ("both", None, ["progress.safetensors", "progress.previous.safetensors"]),
    ],
)
def test_damage_costs_a_round_and_is_told_of_where_it_was_met(
    path: Path, broken: str, round: int | None, said: list[str]
) -> None:
    if broken == "last gone":
        path.unlink()
    for copy, name in ((path, "last"), (previous(path), "previous")):
        if broken in (name, "both"):
            copy.write_bytes(copy.read_bytes()[:30])
    assert recovered(path) == (round, said)


def test_progress_of_another_study_is_refused_and_not_called_damaged(path: Path) -> None:
    with pytest.raises(RunError, match=r"belongs to another study than .*study\.yaml\. Do not edit") as caught:
        recover(path, "other", lambda *_: None)
    assert not isinstance(caught.value, DamagedError)


def test_an_arm_that_has_not_begun_has_nothing_but_its_model() -> None:
    fresh = vars(Progress([{"w": np.zeros(1)}]))
    assert not any(value for name, value in fresh.items() if name != "models")


def test_every_model_is_whole_with_the_sums_of_all_sites() -> None:
    models = [{"w": np.zeros(1)}, {"w": np.ones(1)}]
    found = Progress(models, sums={"sums.n": np.full(1, 7.0)}).whole()
    np.testing.assert_equal(found, [{**model, "sums.n": np.full(1, 7.0)} for model in models])


def test_all_that_an_arm_carries_comes_back_field_by_field(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "progress.safetensors"
    kept = Progress(
        [{"w": np.arange(3.0)}, {"w": np.ones(3)}],
        sums={"sums.n": np.full(1, 7.0)},
        phase=1,
        turn=2,
        round=5,
        history=[{"round": 5, "loss": {"a": 0.5}}],
        clusters={"a": 1},
        memory={"w": np.full(3, 0.25)},
        used={"a": 4},
        missed={"b": "late"},
        notes={"a": ["a note"]},
    )
    save(path, kept, "s")
    found = load(path, "s")
    assert found is not None
    np.testing.assert_equal(vars(found), vars(kept))


def test_names_in_a_memory_may_be_those_of_the_model(tmp_path: Path) -> None:
    """Momentum has the arrays of the model it belongs to."""
    path = tmp_path / "a" / "b" / "progress.safetensors"
    save(path, Progress([{"w": np.zeros(2)}], memory={"w": np.ones(2), "memory/w": np.full(2, 2.0)}), "s")
    found = load(path, "s")
    assert found is not None
    np.testing.assert_equal(found.memory, {"w": np.ones(2), "memory/w": np.full(2, 2.0)})
    np.testing.assert_equal(found.models, [{"w": np.zeros(2)}])


def test_a_site_is_served_its_clusters_model_and_a_newcomer_that_of_most() -> None:
    models = [{"w": np.full(1, float(number))} for number in range(2)]
    progress = Progress(models, clusters={"a": 0, "b": 1, "c": 1})
    assert [progress.model_of(site)["w"][0] for site in "abcd"] == [0, 1, 1, 1]


def test_progress_comes_back_and_belongs_to_its_study(tmp_path: Path) -> None:
    path = tmp_path / "arms" / "federated" / "progress.safetensors"
    assert checkpoints.load(path, "s") is None
    history = [{"round": 1, "loss": {"a": 0.5}, "seconds": 1.0}]
    models = [{"w": np.arange(4.0)}, {"w": np.ones(4)}]
    saved = Progress(
        models,
        phase=1,
        turn=2,
        round=2,
        history=history,
        clusters={"a": 1},
        memory={"m/w": np.zeros(4)},
        used={"a": 2},
    )
    checkpoints.save(path, saved, "s")
    found = checkpoints.load(path, "s")
    assert found is not None
    np.testing.assert_equal(vars(found), vars(saved))
    with pytest.raises(RunError, match="another study"):
        checkpoints.load(path, "other")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(RunError, match="not readable as a model"):
        checkpoints.load(path, "s")
