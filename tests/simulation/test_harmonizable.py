"""What ComBat refuses, told from the table of people alone: no scan is there to be opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import normfed

from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation.errors import DatasetError, HarmonizationError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_simulation import experiment
from normfed_simulation.taking_part import foreseen

Row = dict[str, Any]


def people(root: Path, rows: list[Row]) -> Path:
    """A dataset of empty files."""
    for number, row in enumerate(rows):
        name = f"sub-{number:03d}"
        for session in row.get("sessions", ("1",)):
            folder = root / name / f"ses-{session}" / "anat"
            folder.mkdir(parents=True)
            (folder / f"{name}_ses-{session}_T1w.nii.gz").touch()
        if row.get("group") == "WMH":
            masks = root / "derivatives" / "masks" / name / "ses-1" / "anat"
            masks.mkdir(parents=True)
            (masks / f"{name}_ses-1_space-T1w_label-WMH_mask.nii.gz").touch()
    columns = ("site", "scanner", "age", "sex", "group")
    lines = ["\t".join(("participant_id", *columns))]
    lines += ["\t".join([f"sub-{n:03d}", *(str(row.get(c, "n/a")) for c in columns)]) for n, row in enumerate(rows)]
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    return root


def hospitals(**sizes: int) -> list[Row]:
    """Healthy people of forty and more, of both sexes, and a patient at every site."""
    rows = []
    for site, count in sizes.items():
        for number in range(count):
            sex = "FM"[number % 2]
            rows.append({"site": site, "scanner": "1", "age": 40 + 2 * number, "sex": sex, "group": "control"})
        rows.append({"site": site, "scanner": "1", "age": 50, "sex": "F", "group": "WMH"})
    return rows


def study(**values: Any) -> StudyConfig:
    compared = values.pop("comparisons", {})
    return resolve(
        {
            "name": "s",
            "data": {"modalities": ["T1w"], "held_out_people": 0},
            "transforms": [{"name": "combat", **values}],
            "model": {"name": "atlas"},
            "federation": {"minimum_cohort": 1},
            "comparisons": {"local": False, "pooled": False, "baselines": [], **compared},
        },
        "test",
    )


def changed(rows: list[Row], of: Callable[[Row], bool], **values: Any) -> list[Row]:
    return [row | values if of(row) else row for row in rows]


WRONG: dict[str, tuple[list[Row], dict[str, Any], str]] = {
    "few people": (hospitals(a=12, b=12, c=4), {}, "the scanner c/1 has 4 people to learn from"),
    "few people of a scanner": (
        changed(hospitals(a=24, b=12), lambda row: row["site"] == "a" and row["age"] > 79, scanner="2"),
        {},
        "the scanner a/2 has 4 people",
    ),
    "ages unknown": (
        changed(hospitals(a=12, b=12), lambda row: row["site"] == "b", age="n/a"),
        {},
        "at the scanner b/1 the age of 100% of the scans is not known",
    ),
    "ages apart": (
        changed(hospitals(a=12, b=12), lambda row: row["site"] == "b", age=85),
        {},
        "only 0% of the 12 scans of the scanner",
    ),
    "sex is the scanner's": (
        changed(
            changed(hospitals(a=12, b=12), lambda row: row["site"] == "b", sex="M"), lambda r: r["site"] == "a", sex="F"
        ),
        {},
        "sex differs between scanners",
    ),
    "no reference": (hospitals(a=12, b=12), {"reference": "A/1"}, "of the scanner A/1. Did you mean a/1?"),
    "nobody twice": (hospitals(a=12, b=12), {"longitudinal": True, "places_mm": 16}, "Nobody who trains has two scans"),
    "without a site": (
        hospitals(a=12, c=12) + [row | {"age": row["age"] + 45} for row in hospitals(b=12, d=12)],
        {"comparisons": {"leave_one_site_out": True}},
        "This is so of the model without-d, which stands beside the federated one",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_the_table_of_people_tells_is_refused_before_a_scan_is_opened(case: str, tmp_path: Path) -> None:
    rows, values, said = WRONG[case]
    data, asked = people(tmp_path, rows), study(**values)
    with pytest.raises(HarmonizationError) as refused:
        experiment.check(asked, data)
    assert said in str(refused.value)
    assert foreseen(asked, read_dataset(data)).why_not == str(refused.value)


def test_combat_of_latents_asks_for_as_many_people_before_a_network_is_trained(tmp_path: Path) -> None:
    model = {"name": "siamese", "one_class": {"fit_on": "combat"}}
    asked = resolve(study().model_dump(mode="json") | {"transforms": [], "model": model}, "test")
    with pytest.raises(HarmonizationError, match="the scanner c/1 has 4 people"):
        experiment.check(asked, people(tmp_path, hospitals(a=12, b=12, c=4)))


def test_sites_that_would_get_one_name_are_refused(tmp_path: Path) -> None:
    names = {"a": "St. Mary's", "b": "St.-Mary-s"}
    data = people(tmp_path, [row | {"site": names[row["site"]]} for row in hospitals(a=2, b=2)])
    table = data / "participants.tsv"
    table.write_text(table.read_text().replace("\tsite\t", "\thospital\t", 1))
    with pytest.raises(DatasetError, match=r"in the column hospital .* would both be the site St\.-Mary-s\."):
        normfed("inspect", data)


def test_domain_shift_says_at_once_which_harmonization_will_have_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = people(tmp_path / "data", hospitals(a=12, b=12, c=4))
    (tmp_path / "s.yaml").write_text(
        resolve(study().model_dump(mode="json") | {"transforms": []}, "test").model_dump_json()
    )
    monkeypatch.setattr("normfed_simulation.domain_shift.cli._run", lambda *_: None)
    command = ("study", "domain-shift", tmp_path / "s.yaml", "--data", data, "--out", tmp_path / "out")
    said = normfed(*command, "--harmonizations", "none,combat").stderr
    assert "combat will have no figures: ComBat cannot harmonize these scans: the scanner c/1 has 4 people" in said


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        ({}, hospitals(a=12, b=12)),
        ({"reference": "b/1", "comparisons": {"leave_one_site_out": True}}, hospitals(a=12, b=12, c=12)),
        ({}, hospitals(a=12)),
        (
            {"longitudinal": True, "places_mm": 16},
            changed(hospitals(a=12, b=12), lambda row: row["age"] < 48, sessions=("1", "2")),
        ),
    ],
    ids=["usual", "a federation without the reference", "one scanner", "visits"],
)
def test_what_can_be_harmonized_is_not_refused(values: dict[str, Any], rows: list[Row], tmp_path: Path) -> None:
    experiment.check(study(**values), people(tmp_path, rows))


def test_inspect_says_why_a_study_cannot_begin_and_which_names_are_likely_one(tmp_path: Path) -> None:
    rows = changed(hospitals(a=24, b=12), lambda row: row["site"] == "a", scanner="GE 3T")
    rows = changed(rows, lambda row: row["scanner"] == "GE 3T" and row["age"] > 79, scanner="ge-3t")
    data = people(tmp_path / "data", rows)
    (tmp_path / "s.yaml").write_text(study().model_dump_json())
    shown = normfed("inspect", data, "--study", tmp_path / "s.yaml").stdout
    assert "The scanners a/GE 3T and a/ge-3t differ in spelling alone, and count as 2." in shown
    assert (
        "s.yaml cannot begin with these people: ComBat cannot harmonize these scans: the scanner a/ge-3t has" in shown
    )
    assert "cannot begin" not in normfed("inspect", data).stdout
