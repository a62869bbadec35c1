"""What a run's figures were made with stands on its page."""

from __future__ import annotations

import hashlib
from pathlib import Path

from run_results import run_results

from normfed_common.study.config import StudyConfig
from normfed_server.report.provenance import provenance
from normfed_server.runs.folder import Run


def test_the_models_digest_is_that_of_its_file(study: StudyConfig, tmp_path: Path) -> None:
    run = Run(tmp_path, study)
    assert "model (SHA-256, first half)" not in provenance(run, run_results(), "")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    found = provenance(run, run_results(software={"torch": "2.13.0"}), "cuda:0")
    assert found["model (SHA-256, first half)"] == hashlib.sha256(b"weights").hexdigest()[:32]
    assert (found["torch"], found["device"]) == ("2.13.0", "cuda:0")


def test_what_is_not_known_is_said_not_to_be(study: StudyConfig, tmp_path: Path) -> None:
    found = provenance(Run(tmp_path, study), run_results(), "")
    assert found["versions"] == "not kept by this run"
    assert found["device"] == "of each hospital's own"
