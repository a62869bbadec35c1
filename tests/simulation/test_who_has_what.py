"""The page of who has what: its figures are those of the dataset, before and after a split."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from commands import normfed

from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation.errors import DatasetError
from normfed_simulation.who_has_what import plots
from normfed_simulation.who_has_what.people import Row, rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six people of two sites; three have MS lesions of 1, 2 and 3 voxels, the last an unreadable mask."""
    root, grid = tmp_path / "data", np.diag([2, 2, 2, 1])
    table = ["participant_id\tsite\tage\tsex\tgroup\tscanner"]
    for number in range(6):
        name, group = f"sub-{number}", "MS" if number >= 3 else "control"
        table.append(f"{name}\t{'ab'[number % 2]}\t{30 + number if number else 'n/a'}\tF\t{group}\tGE")
        folder, masks = root / name / "anat", root / "derivatives" / "masks" / name / "anat"
        folder.mkdir(parents=True)
        for modality in ("T1w", "FLAIR")[: 1 + number % 2]:
            nibabel.Nifti1Image(np.ones((9, 9, 9), np.float32), grid).to_filename(folder / f"{name}_{modality}.nii.gz")
        if group == "MS":
            masks.mkdir(parents=True)
            lesion = np.zeros((9, 9, 9), np.uint8)
            lesion[: number - 2, 0, 0] = 1
            path = masks / f"{name}_space-T1w_label-MS_mask.nii.gz"
            nibabel.Nifti1Image(lesion, grid).to_filename(path)
    path.write_bytes(b"no image")
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    (root / "participants.tsv").write_text("\n".join(table) + "\n")
    return root


def drawn(plot: str) -> list[dict[str, Any]]:
    """The traces of a plot in a page."""
    found = re.search(r'Plotly\.newPlot\(\s*"[^"]+",\s*(\[.*?\]),\s*\{"', plot, re.DOTALL)
    assert found is not None
    traces: list[dict[str, Any]] = json.loads(found[1])
    return traces


def test_the_plots_count_the_people_of_each_site(data: Path) -> None:
    dataset = read_dataset(data)
    people, problems = rows(dataset, dataset)
    assert [problem.what for problem in problems] == ["sub-5"]
    assert {trace["name"]: trace["x"] for trace in drawn(plots.groups(people))} == {"control": [2, 1], "MS": [1, 2]}
    assert {trace["name"]: trace["x"] for trace in drawn(plots.kinds(people))} == {"no mask": [2, 2], "MS": [1, 1]}
    assert [sorted(trace["x"]) for trace in drawn(plots.ages(people))] == [[32, 34], [31, 33, 35]]
    (load,) = drawn(plots.loads(people))
    assert dict(zip(load["y"], load["x"], strict=True)) == {"b": pytest.approx(0.008), "a": pytest.approx(0.016)}
    (heat,) = drawn(plots.modalities(people))
    assert (heat["x"], heat["text"]) == (["FLAIR", "T1w"], [["", "3"], ["3", "3"]])


def person(**facts: Any) -> Row:
    nothing: dict[str, Any] = {"group": "", "age": None, "sex": None, "scanner": None, "lesions_ml": {}}
    return Row(**{"site": "a", "came_from": "a", "visits": 1, "modalities": frozenset(["T1w"]), **nothing, **facts})


def test_a_plot_of_what_nobody_tells_is_left_out() -> None:
    for plot in (plots.ages, plots.loads, plots.kinds, plots.scanners, plots.origins):
        assert plot([person()]) == ""


def test_of_many_kinds_the_rarest_are_one_colour() -> None:
    people = [person(scanner=f"scanner {number:02d}") for number in range(20)] + [person(scanner="common")] * 5
    traces = {trace["name"]: trace["x"] for trace in drawn(plots.scanners(people))}
    assert traces["common"] == [5]
    assert traces["others"] == [13]
    assert sum(sum(counts) for counts in traces.values()) == 25


def test_inspect_writes_one_page_that_needs_no_network_and_shows_a_split(data: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(
        "{name: s, model: intensity, data: {modalities: [T1w], split: {by: quantity, power: 0, sites: 3}}}"
    )
    page = tmp_path / "page.html"
    result = normfed("inspect", data, "--study", study, "--page", page)
    assert result.stdout.splitlines()[-1] == f"Page: {page}"
    assert re.search(r"site-3\W+2\W", result.stdout)
    text = page.read_text()
    assert "{by: quantity, power: 0, sites: 3, seed: 0}" in text
    assert "6 people at 3 sites" in text
    assert "Where they came from" in text
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="http', text)


def test_a_page_that_cannot_be_written_is_one_sentence(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"page.html: cannot be written .*Choose another place"):
        normfed("inspect", data, "--page", tmp_path / "file" / "page.html")
