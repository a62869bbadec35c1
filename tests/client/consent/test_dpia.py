"""The assessment that a data-protection officer completes: what is known stands in it, what is not is marked."""

from __future__ import annotations

from pathlib import Path

import attacker
import pytest

from normfed_client.consent.dpia import Risk, assessment, risks_of
from normfed_client.consent.making import manifest_of
from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.operation.commands.showing import show
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import UserError

HOSTILE = "Brains | **free** [x](http://evil) <script>\n\n# Sign here `now`"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """A hospital without a dataset."""
    folder = tmp_path_factory.mktemp("hospital")
    config = HospitalConfig(
        site="north",
        server="fed.example.org:8000",
        data=folder / "none",
        minimum_people=attacker.MINIMUM,
        largest_epsilon=3.5,
    )
    (folder / "site.yaml").write_text(plain_yaml.text(config.model_dump(mode="json")))
    return Hospital(folder, config)


def test_all_that_is_known_is_filled_in_and_a_studys_words_are_no_markup(hospital: Hospital) -> None:
    study = attacker.study(description=HOSTILE, comparisons={"local": False})
    manifest = manifest_of(hospital, study)
    text = assessment(manifest, study, hospital.config, "The dataset names 40 people.", "waits for a person")
    for known in (study.digest, manifest.digest, "fed.example.org:8000", "The dataset names 40 people.", "3.5;"):
        assert known in text
    for said in (*manifest.stays, *manifest.remains, *manifest.protection):
        assert f"- {said}" in text
    assert "Brains \\| \\*\\*free\\*\\* \\[x\\](http://evil) \\<script\\> \\# Sign here \\`now\\`" in text
    for section in range(1, 8):
        assert f"\n## {section}. " in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") - row.count("\\|") for row in rows} == {3, 4, 5, 8}  # every row as long as its table's head
    assert text.count("[TO BE FILLED IN") > 20


@pytest.mark.parametrize(("epsilon", "likelihood"), [(None, "possible"), (8.0, "possible"), (1.0, "remote")])
def test_whether_somebody_took_part_is_rated_by_the_noise(
    hospital: Hospital, epsilon: float | None, likelihood: str
) -> None:
    study = attacker.study()
    private = study.model_copy(update={"privacy": study.privacy.model_copy(update={"epsilon": epsilon})})
    membership, content, *_ = risks_of(private, hospital.config)
    assert membership.likelihood == likelihood
    assert (content.overall == "high") == (epsilon is None)
    assert ("73.1 %" in membership.remains) == (epsilon == 1.0)  # e / (1 + e)


def test_severe_harm_that_is_not_remote_is_high() -> None:
    def overall(likelihood: str, severity: str) -> str:
        return Risk("", "", likelihood, severity, "", "").overall  # type: ignore[arg-type]

    assert overall("probable", "minimal") == overall("remote", "severe") == "medium"
    assert overall("possible", "severe") == overall("probable", "significant") == "high"
    assert overall("possible", "significant") == "medium"


def test_a_paper_that_somebody_completed_is_not_written_over(hospital: Hospital, tmp_path: Path) -> None:
    study, paper = tmp_path / "study.yaml", tmp_path / "dpia.md"
    study.write_text(plain_yaml.text(attacker.study().model_dump(mode="json")))
    show(str(study), dpia=paper, home=hospital.folder)
    paper.write_text("completed")
    with pytest.raises(UserError, match="is there already"):
        show(str(study), dpia=paper, home=hospital.folder)
    assert paper.read_text() == "completed"
