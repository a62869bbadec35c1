"""Makers and fields of scanners are of closed lists, whatever stands in a sidecar or in participants.tsv."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from normfed_client.describing.scanners import maker_and_field
from normfed_client.imaging.bids import Visit
from normfed_client.imaging.participants import Participant
from normfed_common.statistics.tables import FIELDS, UNKNOWN, VENDORS


def visit(folder: Path, scanner: str | None = None, **said: object) -> Visit:
    image = folder / "sub-01_T1w.nii.gz"
    if said:
        (folder / "sub-01_T1w.json").write_text(json.dumps(said))
    return Visit(Participant("sub-01", "a", "control", scanner=scanner), None, {"T1w": image})


@pytest.mark.parametrize(
    ("scanner", "said", "found"),
    [
        (None, {"Manufacturer": "SIEMENS", "MagneticFieldStrength": 2.89}, ("Siemens", "3 T")),
        (None, {"Manufacturer": "GE MEDICAL SYSTEMS", "MagneticFieldStrength": "1.5"}, ("GE", "1.5 T")),
        (None, {"Manufacturer": "TOSHIBA_MEC", "MagneticFieldStrength": 0.5}, ("Canon", "below 1 T")),
        ("Philips Achieva 3T", {}, ("Philips", "3 T")),
        ("GE-1.5 Tesla", {}, ("GE", "1.5 T")),
        ("Prisma, Siemens, 3T", {"Manufacturer": "Philips"}, ("Philips", "3 T")),
        ("the one of Dr Strange, 4711", {}, ("other", UNKNOWN)),
        ("7TX of 1987", {"MagneticFieldStrength": "strong"}, ("other", UNKNOWN)),
        (None, {}, (UNKNOWN, UNKNOWN)),
        ("bridge 3T", {}, ("other", "3 T")),
    ],
)
def test_what_is_typed_becomes_a_class(
    tmp_path: Path, scanner: str | None, said: dict[str, object], found: tuple[str, str]
) -> None:
    assert maker_and_field(visit(tmp_path, scanner, **said), "T1w") == found
    assert found[0] in (*VENDORS, UNKNOWN)
    assert found[1] in (*FIELDS, UNKNOWN)


def test_a_sidecar_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "sub-01_T1w.json").write_text("[not json")
    assert maker_and_field(visit(tmp_path), "T1w") == (UNKNOWN, UNKNOWN)
