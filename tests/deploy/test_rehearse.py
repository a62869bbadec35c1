"""`normfed rehearse`: what cannot be meant is refused before a federation is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import normfed

from normfed_common.foundation.errors import StudyError
from normfed_common.studies import resolve
from normfed_deploy import playing
from normfed_deploy.tiny import STUDY


def test_a_choice_of_faults_needs_faults(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="add --faults"):
        normfed("rehearse", "--only", "exchange", "--folder", tmp_path / "rehearsal")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("only", [("nosuch",), ("kill", "nosuch"), ("exchange",)])
def test_faults_that_a_study_has_not_got_are_refused_and_do_not_pass(tmp_path: Path, only: tuple[str, ...]) -> None:
    """The tiny study has no secure sums, and so no exchanges of them."""
    study = resolve(STUDY, "tiny")
    with pytest.raises(StudyError, match=f"begins with {only[-1]}. There are: "):
        playing.matrix(study, tmp_path, tmp_path / "rehearsal", 1, only, 0, print)
    assert [*tmp_path.iterdir()] == []
