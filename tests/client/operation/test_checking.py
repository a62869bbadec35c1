"""What `normfed site check` says of a hospital's data."""

from __future__ import annotations

from pathlib import Path

import cohorts

from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.operation.checking import _data


def test_people_who_lack_a_modality_are_counted(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path / "data", {"a": {"control": 3, "MS": 1}})
    hospital = Hospital(tmp_path, HospitalConfig(site="a", server="f:1", data=data, device="cpu"))

    def said() -> str:
        return next(finding.found for finding in _data(hospital, opening_scans=False) if finding.what == "data")

    assert said() == "4 people, 4 visits with FLAIR, T1w"
    cohorts.take_away(data, "FLAIR", 2)
    assert said() == "4 people, 4 visits with FLAIR, T1w; 2 without FLAIR"
