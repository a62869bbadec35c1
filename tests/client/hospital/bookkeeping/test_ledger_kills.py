"""Real kills of processes that spend: the benchmark that plays a thousand of them, with a dozen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from normfed_client.hospital.bookkeeping.entries import Entry, Release
from normfed_client.hospital.bookkeeping.ledger import Ledger

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return __import__("bench_ledger_kills")


def test_processes_killed_at_any_moment_have_on_record_what_left_within_the_budget(
    kills: ModuleType, tmp_path: Path
) -> None:
    seen = kills.kill(12, 0, tmp_path)
    assert seen.kills >= 12
    assert seen.answers > 0  # some were killed after an answer
    assert seen.pairs > 0  # and some while another spent


def test_an_entry_that_is_written_after_the_answer_left_is_found(
    kills: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = Ledger.reserve

    def late(self: Ledger, release: Release, refusal: Callable[[list[Entry], Entry], str]) -> str:
        return reserve(self, release, refusal) if release.key.endswith(" 0") else ""

    monkeypatch.setattr(Ledger, "reserve", late)
    with pytest.raises(AssertionError, match="something left that is not on record"):
        kills.kill(30, 0, tmp_path)
