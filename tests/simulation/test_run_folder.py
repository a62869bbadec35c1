"""What a run that cannot begin leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_common.foundation.errors import DatasetError, NormfedError, PluginError, RunError, StudyError
from normfed_common.study.config import StudyConfig
from normfed_server.runs.folder import begin
from normfed_simulation.run_folder import discarded_if_refused


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize(
    ("kind", "refused"),
    [(StudyError, True), (DatasetError, True), (PluginError, True), (RunError, False), (KeyboardInterrupt, False)],
)
def test_only_what_is_refused_before_anything_happened_leaves_no_folder(
    study: StudyConfig, tmp_path: Path, kind: type[NormfedError], refused: bool, planned: bool
) -> None:
    run = begin(study, tmp_path)
    (run.folder / "sites").mkdir()
    if planned:
        (run.folder / "events.jsonl").touch()
    with pytest.raises(kind), discarded_if_refused(run):
        raise kind("no")
    assert run.folder.exists() == (planned or not refused)
