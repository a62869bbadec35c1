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
from normfed_client.imaging import bids
from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation.errors import DatasetError
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


@pytest.mark.parametrize(
    ("name", "instead"),
    [("St. Mary's", "it, such as St.-Mary-s,"), ("\u202e", "it"), ("é" + "C" * 400, "it, such as C")],
)
def test_a_site_that_no_message_can_name_is_one_sentence_with_a_name_that_can(
    data: Path, tmp_path: Path, name: str, instead: str
) -> None:
    """Once `simulate` ended with pydantic's traceback of the site's configuration."""
    named = tmp_path / "named"
    shutil.copytree(data, named, symlinks=True)
    table = named / "participants.tsv"
    table.write_text(re.sub(r"\tb(?=\t|\n)", f"\t{name}", table.read_text()))
    with pytest.raises(DatasetError, match=r"^(?!.*\n).*letters, digits, dots, hyphens and underscores") as caught:
        normfed("simulate", study(tmp_path), "--data", named, "--out", tmp_path / "runs", "--workers", 0)
    assert f"Rename {instead}" in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not (tmp_path / "runs").exists()


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


def test_of_a_study_that_names_what_is_not_there_a_terminal_says_only_that(data: Path, tmp_path: Path) -> None:
    found = normfed("inspect", data, "--study", study(tmp_path, STUDY.replace("d: ", "nowhere: "))).stdout
    assert "no site is called nowhere" in found
    assert "visits" not in found
    assert "│" not in found


def test_a_terminal_tells_of_the_studys_sites_alone(data: Path, tmp_path: Path) -> None:
    path = study(tmp_path, STUDY.replace('exclude: {d: "no consent", ', "sites: [a, b]\n  exclude: {"))
    found = normfed("inspect", data, "--study", path).stdout
    assert "2 other sites not in data.sites" in found
    assert "MS" not in found  # of site c


def test_a_problem_at_a_site_that_the_study_does_not_take_is_none_of_its_run(tmp_path: Path) -> None:
    root = cohorts.write(tmp_path / "data", {"a": {"control": 8, "WMH": 3}, "b": {"control": 8, "WMH": 3}})
    (root / "sub-bWMH01" / "anat" / "sub-bWMH01_T2w.nii.gz").symlink_to("nowhere.nii.gz")
    for sites, expected in (("[a, b]", ["sub-bWMH01"]), ("[a]", [])):
        text = f"name: s\nmodel: intensity\ndata:\n  modalities: [T1w, FLAIR]\n  sites: {sites}\n"
        _, problems = roles_of(load_study(study(tmp_path, text)), read_dataset(root))
        assert [problem.what for problem in problems] == expected


def test_a_group_that_the_study_calls_healthy_is_not_missed(tmp_path: Path) -> None:
    root = cohorts.write(tmp_path / "data", {"a": {"HC": 8, "WMH": 3}, "b": {"HC": 8, "WMH": 3}})
    text = "name: s\nmodel: intensity\ndata:\n  modalities: [T1w, FLAIR]\n  control_groups: [HC]\n"
    assert told(root, "--study", study(tmp_path, text))["remarks"] == []
    (remark,) = told(root, "--study", study(tmp_path, text.replace("HC", "control")))["remarks"]
    assert "cannot begin" in remark


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_where_the_study_cannot_begin_the_exit_code_says_so(
    data: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    assert normfed("inspect", data, "--study", study(tmp_path), *options).exit_code == 0
    cannot = study(tmp_path, STUDY.replace("d: ", "nowhere: "))
    assert normfed("inspect", data, "--study", cannot, *options).exit_code == 2


def test_of_scans_alone_it_is_said_what_can_be_done_with_them(tmp_path: Path) -> None:
    (tmp_path / "sub-1_T1w.nii.gz").touch()
    with pytest.raises(DatasetError, match=r"participants\.tsv: missing\. .*`normfed score RUN \S+ --out DIR`"):
        normfed("inspect", tmp_path)


def test_the_dataset_is_read_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(bids, "read_dataset", lambda root: read.append(root) or read_dataset(root))
    normfed("inspect", data, "--study", study(tmp_path))
    assert read == [data]


def test_what_held_out_people_are_too_few_for_is_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    few = normfed("inspect", data, "--study", study(tmp_path)).stdout
    assert "The threshold is set on the patients' own lesion-free tissue" in few
    enough = normfed("inspect", data, "--study", study(tmp_path), "--set", "data.held_out_people=3").stdout
    assert "Sites with 3 or more held out set thresholds and p-values." in enough


def test_whoever_is_not_drawn_of_a_study_kept_small_is_said_to_be(data: Path, tmp_path: Path) -> None:
    found = told(data, "--study", study(tmp_path, STUDY + "  people_per_site: 4\n"))
    roles = {item["name"]: item["roles"] for item in found["items"]}
    assert roles["a"]["left_out"]["not drawn: data.people_per_site is 4"] == 7  # of 11 who have a role
    assert roles["a"]["train"] + roles["a"]["held_out"] + roles["a"]["test"] == 4
    assert roles["c"]["left_out"] == {}


def test_without_a_study_nobody_has_a_role(data: Path) -> None:
    assert "people" not in told(data)
    assert "roles" not in told(data)["items"][0]
