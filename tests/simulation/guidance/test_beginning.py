"""A study that `normfed init` writes is the study that was asked for, and every comment in it is true."""

from __future__ import annotations

import re
from pathlib import Path

import cohorts
import jsonschema
import pytest
import yaml
from commands import normfed

from normfed_common.foundation.errors import DatasetError, StudyError
from normfed_common.shipped import names, shipped_study
from normfed_common.studies import load_study, resolve
from normfed_common.study.reference import study_keys
from normfed_simulation.guidance import beginning


@pytest.mark.parametrize("name", names())
def test_a_study_like_another_is_that_study_under_another_name(name: str, tmp_path: Path) -> None:
    found = beginning.write(tmp_path / "mine.yaml", Path(name), None).study
    assert found == load_study(shipped_study(name)).model_copy(update={"name": "mine"})


def test_a_study_of_nothing_given_has_every_default_but_for_the_model(tmp_path: Path) -> None:
    found = beginning.write(tmp_path / "My study!.yaml", None, None).study
    model = {"name": "matched-filter", "postprocessing": {"edge_mm": 5, "grey_factor": 0.4}}
    assert found == resolve({"name": "My-study", "data": {"modalities": ["T1w", "FLAIR"]}, "model": model}, "x")


@pytest.mark.parametrize(
    ("kept", "model"), [("FLAIR", "matched-filter"), ("T1w", "atlas"), ("T2w", "matched-filter"), ("pet", "atlas")]
)
def test_the_model_is_the_one_that_did_best_on_such_scans(tmp_path: Path, kept: str, model: str) -> None:
    root = cohorts.write(tmp_path / "data", {"a": {"control": 1}})
    for scan in root.rglob("*_FLAIR.nii.gz"):
        scan.rename(scan.with_name(scan.name.replace("FLAIR", kept))) if kept != "T1w" else scan.unlink()
    for scan in root.rglob("*_T1w.nii.gz") if kept != "T1w" else ():
        scan.unlink()
    found = beginning.write(tmp_path / "s.yaml", None, root).study
    assert (list(found.data.modalities), found.model["name"]) == ([kept], model)


def test_a_study_of_a_dataset_is_called_after_its_folder_unless_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = cohorts.write(tmp_path / "My cohort", {"a": {"control": 1}})
    monkeypatch.chdir(tmp_path)
    assert "study.yaml, called My-cohort, model matched-filter" in normfed("init", "--data", root).stdout
    assert load_study(tmp_path / "study.yaml").name == "My-cohort"
    normfed("init", "--data", root, "-o", "mine.yaml")
    assert load_study(tmp_path / "mine.yaml").name == "mine"


def test_every_key_is_in_it_and_every_default_can_be_taken_as_it_stands(tmp_path: Path) -> None:
    """Without their `#`, all lines `#key: value` together are the same study: each is the default."""
    path = tmp_path / "s.yaml"
    found = beginning.write(path, None, None).study
    text = path.read_text()
    for key in study_keys():
        if "[]" not in key.path:
            assert re.search(rf"^ *#?{key.path.rpartition('.')[2]}:", text, re.MULTILINE), key.path
    examples = (
        "phantom",
        "sites",
        "voxel_size_mm",
        "dataset",
        "split",
        "secure_aggregation",
        "central",
        "initial_model",
    )
    lines, inside = [], 0
    for line in text.splitlines():
        bare = re.match(r"^( *)#(\w+): ?(.*)$", line)
        depth = len(line) - len(line.lstrip())
        if bare and (bare[2] in ("phantom", "secure_aggregation", "central") and not bare[3]):
            inside = depth + 1  # sections that mean something as soon as they are there
        elif line.strip() and depth < inside:
            inside = 0
        if bare and not inside and bare[2] not in examples:
            lines.append(f"{bare[1]}{bare[2]}: {bare[3]}")
        elif not line.lstrip().startswith("#"):
            lines.append(line)
    path.write_text("\n".join(lines))
    assert len(lines) > 60
    assert load_study(path) == found


def test_the_schema_lies_where_the_first_line_says_and_takes_the_study(tmp_path: Path) -> None:
    import json

    path = tmp_path / "s.yaml"
    beginning.write(path, Path("demo"), None)
    first = path.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=normfed-study.schema.json"
    schema = json.loads((tmp_path / first.partition("=")[2]).read_text())
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    ("people", "data"),
    [
        ({"control": 2, "MS": 1}, {"modalities": ["T1w", "FLAIR"], "sites": ["a", "b"]}),
        ({"HC": 2, "MS": 1}, {"modalities": ["T1w", "FLAIR"], "sites": ["a", "b"], "control_groups": ["HC"]}),
        ({"MS": 2}, {"modalities": ["T1w", "FLAIR"], "sites": ["a", "b"], "normal": "lesion-free-tissue"}),
    ],
)
def test_what_a_dataset_has_is_filled_in(tmp_path: Path, people: dict[str, int], data: dict[str, object]) -> None:
    written = {"control" if group == "HC" else group: count for group, count in people.items()}
    root = cohorts.write(tmp_path / "data", {"a": written, "b": written})
    if "HC" in people:
        table = root / "participants.tsv"
        table.write_text(table.read_text().replace("\tcontrol", "\tHC"))
    beginning.write(tmp_path / "s.yaml", None, root)
    assert yaml.safe_load((tmp_path / "s.yaml").read_text())["data"] == data


def test_what_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"Did you mean siamese\?"):
        beginning.write(tmp_path / "s.yaml", Path("siamse"), None)
    with pytest.raises(DatasetError, match="no such folder"):
        beginning.write(tmp_path / "s.yaml", None, tmp_path / "nowhere")
    cohorts.write(tmp_path / "data", {"St Mary": {"control": 1}})
    with pytest.raises(DatasetError, match=r"Rename it, such as St-Mary, in participants\.tsv"):
        beginning.write(tmp_path / "s.yaml", None, tmp_path / "data")  # once it named a study that there was not
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_name_that_a_site_could_have_is_not_another_ones(tmp_path: Path) -> None:
    table = cohorts.write(tmp_path / "data", {"a": {"control": 1}, "b": {"control": 1}}) / "participants.tsv"
    table.write_text(table.read_text().replace("\ta\t", "\tSt Mary\t").replace("\tb\t", "\tSt-Mary\t"))
    with pytest.raises(DatasetError, match=r"Rename it, such as St-Mary-2, in participants\.tsv"):
        beginning.write(tmp_path / "s.yaml", None, tmp_path / "data")


def test_the_command_says_what_comes_next_and_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    shown = normfed("init", "--like", "demo", "-o", path).stdout
    assert f"normfed simulate {path}" in " ".join(shown.split())
    before = path.read_text()
    with pytest.raises(StudyError, match="is there already"):
        normfed("init", "-o", path)
    assert path.read_text() == before


def test_it_is_said_why_these_modalities_and_sites_and_sites_without_people_enough_are_left_out(tmp_path: Path) -> None:
    people = {"a": {"control": 5, "MS": 3}, "b": {"control": 5, "MS": 3}, "few": {"MS": 1}, "late": {"MS": 3}}
    root = cohorts.write(tmp_path / "data", people)
    for scan in (*root.rglob("sub-a*_FLAIR.nii.gz"), *root.rglob("sub-b*_FLAIR.nii.gz")):
        scan.unlink()
    for scan in root.rglob("sub-late*_T1w.nii.gz"):
        scan.unlink()
    shown = normfed("init", "--data", root, "-o", tmp_path / "s.yaml").stdout
    assert load_study(tmp_path / "s.yaml").data.sites == ("a", "b")
    assert "Modalities, of 20 visits: T1w (17); not the rarer FLAIR (4)." in shown
    assert "Sites left out, nobody has T1w: late." in shown
    assert "healthy people or people with a lesion mask that counts: few." in shown
