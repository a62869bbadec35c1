"""Small files between a run's process, the reconciler and the operator."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_server.state.notes import read


def test_a_note_says_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "note").write_text('{"why": "Müller\'s disk"}', encoding="utf-8")
    assert read(tmp_path / "note") == {"why": "Müller's disk"}


@pytest.mark.parametrize("content", [b"", b'{"why": ', b"\xff\xfe", b"\0" * 20])
def test_a_note_that_is_damaged_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "note").write_bytes(content)
    assert read(tmp_path / "note") is None


def test_a_note_that_is_not_there_or_is_a_folder_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "note") is None
    assert read(tmp_path) is None
