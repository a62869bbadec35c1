"""Statistics of cohorts by secure sums: what the server reads off the total is what all sites alone would have told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import secure_runs
from flwr.app import Message

from normfed_common.foundation.files import write_json
from normfed_common.wire.messages import asked, decode_answer
from normfed_server.results import cohorts
from normfed_server.results.cohorts import Statistics
from normfed_server.state.notes import OPTIONS

ATLAS = {"name": "atlas"}


def counted(
    folder: Path, data: Path, scans: Path, seen: list[np.dtype] | None = None, hospitals: bool = False, **changes: Any
) -> Statistics:
    folder.mkdir()
    custody = secure_runs.hospitals(folder / "hospitals", data) if hospitals else None
    run = secure_runs.prepare(secure_runs.small(model=ATLAS, **changes), folder / "run", data, scans, custody)
    write_json(run.folder / OPTIONS, {"statistics": True})

    def watch(request: Message, reply: Message) -> Message:
        if seen is not None and asked(request).task == "train.sums" and not reply.has_error():
            seen.extend(array.dtype for array in decode_answer(reply)[1].values())
        return reply

    return cohorts.read(secure_runs.play(run, watch))


def test_secure_statistics_are_those_in_the_clear_and_of_no_single_site(
    tmp_path: Path, data: Path, scans: Path
) -> None:
    clear = counted(tmp_path / "clear", data, scans, hospitals=True)
    seen: list[np.dtype] = []
    secure = counted(tmp_path / "secure", data, scans, seen, True, **secure_runs.SECURE)
    assert set(clear.sites) == set("abcdef")
    assert (secure.sites, secure.secure) == ({}, True)
    assert secure.merged.people == clear.merged.people == sum(of.people for of in clear.sites.values())
    for name, cells in clear.merged.tables.items():
        there = {(cell.first, cell.last): cell.people for cell in secure.merged.tables[name] if cell.people > 1e-4}
        assert there == pytest.approx({(c.first, c.last): c.people for c in cells if c.people > 1e-4}, abs=1e-4), name
    assert set(seen) == {np.dtype(np.uint64)}  # masked


def test_hospitals_share_one_noise(tmp_path: Path, data: Path, scans: Path) -> None:
    privacy = {"epsilon": 8.0, "secure_aggregation": {"noise": "distributed", "minimum_sites": 4}}
    shared = counted(tmp_path / "shared", data, scans, privacy=privacy)
    own = counted(tmp_path / "own", data, scans, privacy={"epsilon": 8.0})
    assert 0 < shared.noise[1] < own.noise[1]
    assert shared.merged.people == own.merged.people
    healthy = [sum(cell.people for cell in of.merged.tables["group"] if cell.what == "healthy") for of in (shared, own)]
    assert healthy == pytest.approx([sum(7 + n for n in range(6))] * 2, abs=5 * own.noise[1])
