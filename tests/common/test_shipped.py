"""A study is found by its file or, where it comes with normfed, by its name; else the error says what is near."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_common.foundation.errors import StudyError
from normfed_common.shipped import names, shipped_folder, shipped_study, study_file

STUDIES = Path(__file__).parents[2] / "studies"


def test_the_names_are_those_of_the_files_in_the_source_tree() -> None:
    assert names() == sorted(path.stem for path in STUDIES.glob("*.yaml"))
    assert shipped_folder().resolve() == STUDIES.resolve()


def test_a_name_is_that_studys_file_unless_there_is_a_file_of_this_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert study_file(Path("demo")).samefile(STUDIES / "demo.yaml")
    (tmp_path / "demo").mkdir()  # a folder is no study
    assert study_file(Path("demo")).samefile(STUDIES / "demo.yaml")
    (tmp_path / "demo").rmdir()
    (tmp_path / "demo").write_text("name: mine")
    assert study_file(Path("demo")) == Path("demo")


@pytest.mark.parametrize(
    ("said", "near"),
    [("siamse", "siamese"), ("Demo", "demo"), ("demo.yml", "demo"), ("mien.yaml", "mine.yaml"), ("zzz", None)],
)
def test_what_is_not_there_is_refused_with_what_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, near: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("name: mine")
    with pytest.raises(StudyError) as caught:
        study_file(Path(said))
    text = str(caught.value)
    assert text.startswith(f"{said}: no such file.")
    assert ("Did you mean" in text) == (near is not None)
    assert near is None or f"Did you mean {near}?" in text
    assert f"Studies that come with normfed: {', '.join(names())}." in text


def test_a_name_that_no_shipped_study_has_is_refused() -> None:
    with pytest.raises(StudyError, match=r"No study called dmo comes with normfed\. Did you mean demo\? Known: demo, "):
        shipped_study("dmo")
