"""The list of what would leave, for people: in a terminal of 80 columns, in facts, and on the officer's sheet."""

from __future__ import annotations

import re
from pathlib import Path

import attacker
import audited
import pytest
import yaml
from typer.testing import CliRunner

from normfed_client.consent.making import manifest_of
from normfed_client.consent.sheet import facts_of, lines_of, page
from normfed_client.hospital.folder import open_hospital
from normfed_client.operation.cli import site

STUDY = attacker.study(comparisons={"local": False})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hospital without a dataset."""
    audited.furnish(tmp_path)
    values = {"site": "north", "server": "fed.example.org:8000", "data": "none", "minimum_people": attacker.MINIMUM}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY.model_dump(mode="json")))
    return tmp_path


def shown(folder: Path, columns: int) -> str:
    found = CliRunner().invoke(
        site, ["show", str(folder / "study.yaml"), "--home", str(folder)], env={"COLUMNS": str(columns)}
    )
    assert found.exit_code == 0
    return found.output


@pytest.mark.parametrize("columns", [80, 200])
def test_every_array_can_be_read_whole_in_a_narrow_terminal_and_in_a_wide_one(folder: Path, columns: int) -> None:
    text, manifest = " ".join(shown(folder, columns).split()), manifest_of(open_hospital(folder), STUDY)
    assert f"List {manifest.digest}." in text
    for line in lines_of(manifest):
        for cell in (line.when, line.bytes, line.arrays.partition(":")[0]):
            assert cell in text
        assert columns == 200 or f"{line.arrays}; {line.shape}".removesuffix("; –") in text
    assert "…" not in text


def test_the_rounds_of_a_study_are_told_in_words() -> None:
    for passes, said in ((1, "with 1 pass over the people in each"), (3, "with 3 passes over the people in each")):
        federation = STUDY.federation.model_copy(update={"rounds": 20, "local_epochs": passes})
        assert dict(facts_of(STUDY.model_copy(update={"federation": federation})))["rounds"] == f"20, {said}"


def test_the_sheet_says_for_how_many_runs_it_is_signed_and_names_its_list(folder: Path) -> None:
    manifest = manifest_of(open_hospital(folder), STUDY)
    text = " ".join(re.sub(r"<[^>]+>", " ", page(manifest, STUDY, "40 people.")).split())
    assert "for one run unless more are written below" in text
    assert manifest.digest in text
    assert manifest.study_digest in text
