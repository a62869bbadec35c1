"""A damaged file of a run folder is told by what is wrong in it, and by a cure that its run has."""

from pathlib import Path

import pytest

from normfed_common.foundation.errors import DamagedError
from normfed_server.results import audit, cohorts, layout


def test_damaged_statistics_are_asked_for_again_since_their_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"statistics\.json cannot be read \(No such file.*\)\. Ask for the statist"):
        cohorts.read(tmp_path)


@pytest.mark.parametrize("module", [audit, cohorts, layout])
def test_a_file_of_another_kind_is_told_by_its_first_wrong_key(tmp_path: Path, module: object) -> None:
    for name in ("privacy-audit.json", "statistics.json", "metrics.json"):
        (tmp_path / name).write_text('{"nothing": 1}')
    with pytest.raises(DamagedError) as caught:
        module.read(tmp_path)  # type: ignore[attr-defined]
    assert caught.value.why.endswith(": Field required")
