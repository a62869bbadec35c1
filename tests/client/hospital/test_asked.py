"""How often a run has asked about what."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normfed_client.hospital.asked import Asked

Note = tuple[str, str, int, str]
notes = st.tuples(st.sampled_from("ts"), st.sampled_from("ab"), st.integers(0, 2), st.sampled_from("xyz"))


@settings(max_examples=20)  # each writes to the disk
@given(st.lists(notes, max_size=8))
def test_counts_are_those_of_the_different_requests_so_far(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Note]
) -> None:
    """A key is a digest of all that a request says: one key of a model has one task and one round."""
    folder, known = tmp_path_factory.mktemp("run"), dict[tuple[str, str], tuple[str, int]]()
    for task, arm, round, key in asked:
        named = f"{task} {round} {key}"
        known[arm, named] = (task, round)
        same = sum(of == arm and what == (task, round) for (of, _), what in known.items())
        models = len({of for of, _ in known})
        assert Asked(folder).note(task, arm, round, named) == (same, models)  # read anew: nothing is in memory alone


def test_every_run_is_counted_apart(tmp_path: Path) -> None:
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        assert Asked(tmp_path / run).note("train.sums", "a", 0, "k") == (1, 1)
