"""Two folders over the same people know of each other, or one names the other's records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from normfed_client.hospital.folder import Hospital, open_hospital
from normfed_client.hospital.neighbours import neighbours
from normfed_client.operation.checking import counted_apart


@pytest.fixture(autouse=True)
def _a_state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def hospital(folder: Path, data: Path, **settings: Any) -> Hospital:
    folder.mkdir()
    found = {"site": folder.name, "server": "f:1", "data": str(data), **settings}
    (folder / "site.yaml").write_text(yaml.safe_dump(found))
    return open_hospital(folder)


@pytest.mark.parametrize(
    ("data", "owns", "same"),
    [
        ("data", [], True),
        ("data", ["north"], True),
        ("data", ["south"], False),
        ("data/part", [], True),
        (".", [], True),
        ("other", [], False),
    ],
)
def test_folders_over_the_same_people_find_each_other(tmp_path: Path, data: str, owns: list[str], same: bool) -> None:
    one = hospital(tmp_path / "a", tmp_path / "data", owns=["north"])
    assert neighbours(one) == []
    other = hospital(tmp_path / "b", tmp_path / data, owns=owns)
    assert neighbours(other) == ([one.folder] if same else [])
    assert neighbours(one) == ([other.folder] if same else [])


def test_what_to_write_makes_the_two_count_together(tmp_path: Path) -> None:
    """Once each of two folders had a whole budget for the same people."""
    one, other = (hospital(tmp_path / name, tmp_path / "data") for name in "ab")
    neighbours(one)
    (finding,) = counted_apart(other)
    assert finding.severity == 1
    with open(other.folder / "site.yaml", "a") as file:
        file.write(finding.copy + "\n")
    together = open_hospital(other.folder)
    assert list(counted_apart(together)) == list(counted_apart(one)) == []
    assert together.ledger_file == one.ledger_file
    assert together.people_secret == one.people_secret
    assert together.record == one.record
    assert together.state != one.state


def test_a_folder_that_is_gone_or_a_list_that_is_damaged_is_no_neighbour(tmp_path: Path) -> None:
    one, other = (hospital(tmp_path / name, tmp_path / "data") for name in "ab")
    neighbours(one)
    (one.folder / "site.yaml").unlink()
    assert neighbours(other) == []
    (tmp_path / "state" / "normfed" / "sites.json").write_text("{")
    assert neighbours(other) == []
