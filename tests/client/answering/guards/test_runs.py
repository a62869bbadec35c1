"""A new run is admitted where there is room for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from jobs import hospital, job

from normfed_client.answering.guards.runs import Runs
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.wire.requests import Describe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs, and a cache with two entries of 600 and 400 bytes of arrays, beside what does not count."""
    for run in ("one", "two"):
        (tmp_path / "state" / run).mkdir(parents=True)
    for name, size in (("a/images.npy", 600), ("b/mask.npy", 400), ("b/meta.json", 50), ("loose.npy", 50)):
        path = tmp_path / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0" * size)
    return tmp_path


def refusal(guard: Runs, folder: Path) -> SiteError:
    with pytest.raises(SiteError) as caught:
        guard.inbound(job(folder, Describe(), new=True))
    assert guard.hospital.prepared == []  # type: ignore[attr-defined]
    return caught.value


def test_so_many_runs_are_kept_and_no_more(folder: Path) -> None:
    room = Runs(hospital(folder, most_runs=3))
    room.inbound(job(folder, Describe(), new=True))
    assert room.hospital.prepared == ["run"]  # type: ignore[attr-defined]
    error = refusal(Runs(hospital(folder, most_runs=2)), folder)
    assert error.code is SiteCode.TOO_MUCH_ASKED
    assert error.detail.startswith(f"most_runs: 2 runs are kept in {folder / 'state'}. ")


def test_a_new_run_is_refused_where_prepared_scans_fill_more_than_the_hospital_gives(folder: Path) -> None:
    Runs(hospital(folder, largest_cache_gb=1000e-9)).inbound(job(folder, Describe(), new=True))
    error = refusal(Runs(hospital(folder, largest_cache_gb=999e-9)), folder)
    assert error.code is SiteCode.TOO_MUCH_ASKED
    assert error.detail.startswith(f"largest_cache_gb: {folder / 'cache'} holds ")


def test_a_hospital_that_prepared_no_scan_yet_takes_a_run(tmp_path: Path) -> None:
    Runs(hospital(tmp_path, largest_cache_gb=999e-9)).inbound(job(tmp_path, Describe(), new=True))


def test_a_new_run_is_refused_on_the_word_of_an_old_record(folder: Path) -> None:
    old = hospital(folder)

    def is_old() -> None:
        raise UserError("older than the runs")

    old.check_record = is_old
    error = refusal(Runs(old), folder)
    assert (error.code, error.detail) == (SiteCode.RECORD_UNUSABLE, "older than the runs")


def test_a_run_that_is_under_way_goes_on_whatever_room_there_is(folder: Path) -> None:
    full = Runs(hospital(folder, most_runs=1, largest_cache_gb=1e-9))
    full.inbound(job(folder, Describe()))
    assert full.hospital.prepared == ["run"]  # type: ignore[attr-defined]
