"""`normfed inspect --study`: who has which role, as the run would have it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import cohorts
import pytest
from commands import normfed

import normfed as normfed_in_python
from normfed_client.imaging.bids import read_dataset
from normfed_common.studies import load_study
from normfed_simulation.taking_part import roles_of

STUDY = """\
name: s
model: intensity
data:
  modalities: [T1w, FLAIR]
  held_out_share: 0.25
  exclude: {d: "no consent", sub-acontrol00: "moved"}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sites a to d; at a somebody has no FLAIR, at b there are people who are neither healthy nor with a mask."""
    root = cohorts.write(
        tmp_path_factory.mktemp("cohort") / "data",
        {"a": {"control": 10, "WMH": 3}, "b": {"control": 2, "WMH": 4}, "c": {"MS": 3}, "d": {"control": 3}},
    )
    next((root / "sub-acontrol01" / "anat").glob("*_FLAIR.nii.gz")).unlink()
    table = root / "participants.tsv"
    table.write_text(table.read_text().replace("sub-bcontrol01\tb\tcontrol", "sub-bcontrol01\tb\tunclear"))
    return root


def study(folder: Path, text: str = STUDY) -> Path:
    path = folder / "s.yaml"
    path.write_text(text)
    return path


def told(*words: object) -> dict[str, Any]:
    return json.loads(normfed("inspect", *words, "--json").stdout)


def test_every_site_says_how_many_have_which_role_and_why_others_have_none(data: Path, tmp_path: Path) -> None:
    found = told(data, "--study", study(tmp_path))
    assert {item["name"]: item["roles"] for item in found["items"]} == {
        "a": {"train": 6, "held_out": 2, "test": 3, "left_out": {"excluded: moved": 1, "no FLAIR": 1}},
        "b": {
            "train": 1,
            "held_out": 0,
            "test": 4,
            "left_out": {"neither healthy nor with a lesion mask that counts": 1},
        },
        "c": {"train": 0, "held_out": 0, "test": 3, "left_out": {}},
        "d": {"train": 0, "held_out": 0, "test": 0, "left_out": {"excluded: no consent": 3}},
    }


@pytest.mark.parametrize("change", ["", "  test_on: held-out\n", "  normal: lesion-free-tissue\n"])
def test_everybody_has_the_role_that_the_run_gives_them(data: Path, tmp_path: Path, change: str) -> None:
    path = study(tmp_path, STUDY + change)
    people = told(data, "--study", path, "--set", "seed=3")["people"]
    roles, _ = roles_of(load_study(path, seed=3), read_dataset(data))
    for role in ("train", "held_out", "test"):
        of_run = {visit.participant.subject for of in roles.values() for visit in getattr(of, role)}
        assert {person["name"] for person in people if role in person["roles"]} == of_run
    assert {person["name"] for person in people} == {v.participant.subject for v in read_dataset(data).visits}
    assert all(bool(person["roles"]) != bool(person["left_out"]) for person in people)


@pytest.mark.parametrize("name", ["all", "Pooled"])
def test_a_site_that_tables_would_take_for_all_sites_is_refused_unless_it_is_left_out(
    data: Path, tmp_path: Path, name: str
) -> None:
    named = tmp_path / "named"
    shutil.copytree(data, named, symlinks=True)
    table = named / "participants.tsv"
    table.write_text(re.sub(r"\tb(?=\t|\n)", f"\t{name}", table.read_text()))
    said = normfed_in_python.inspect(named, study=study(tmp_path)).attrs["why_not"]
    assert f"no site can be called {name}, for results call" in said
    left_out = STUDY.replace("exclude: {", f"exclude: {{{name}: misnamed, ")
    assert left_out != STUDY
    assert name not in normfed_in_python.inspect(named, study=study(tmp_path, left_out)).attrs["why_not"]


def test_python_has_the_same_in_a_frame(data: Path, tmp_path: Path) -> None:
    path = study(tmp_path)
    frame = normfed_in_python.inspect(data, study=path)
    told_by_command = {
        person["name"]: (", ".join(person["roles"]) or None, person["left_out"])
        for person in told(data, "--study", path)["people"]
    }
    without_nan = frame[["subject", "roles", "left_out"]].astype(object).where(frame.notna(), None)
    assert {subject: (roles, why) for subject, roles, why in without_nan.itertuples(index=False)} == told_by_command
    assert "cannot begin" not in frame.attrs["why_not"]
    assert "roles" not in normfed_in_python.inspect(data).columns


def test_a_terminal_has_a_table_that_folds_and_says_what_is_too_few(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    rows = [
        [cell.strip() for cell in line.split("│")]
        for line in normfed("inspect", data, "--study", path).stdout.splitlines()
    ]
    assert ["", "a", "6", "2 (too few)", "3", "1: excluded: moved, 1: no FLAIR", ""] in rows
    assert ["", "b", "1 (too few)", "0", "4", "1: neither healthy nor with a lesion mask that counts", ""] in rows
    monkeypatch.setenv("COLUMNS", "50")
    narrow = normfed("inspect", data, "--study", path).stdout
    assert max(map(len, narrow.split("People in")[1].split("Names only")[0].splitlines()[1:])) <= 50
    assert "train 6; held out 2 (too few); test 3; left out 1: excluded: moved, 1: no FLAIR" in " ".join(narrow.split())


def test_of_a_study_that_names_a_site_which_is_not_there_nobody_is_said_to_be_left_out(
    data: Path, tmp_path: Path
) -> None:
    path = study(tmp_path, STUDY.replace("d: ", "nowhere: "))
    found = told(data, "--study", path)
    assert (found["people"], [item["roles"]["left_out"] for item in found["items"]]) == ([], [{}, {}, {}, {}])
    assert "no site is called nowhere" in found["remarks"][0]
    frame = normfed_in_python.inspect(data, study=path)
    assert frame[["roles", "left_out"]].isna().all(axis=None)
    assert "no site is called nowhere" in frame.attrs["why_not"]


def test_without_a_study_nobody_has_a_role(data: Path) -> None:
    assert "people" not in told(data)
    assert "roles" not in told(data)["items"][0]
