"""What a person sees of what the operating system refuses."""

from __future__ import annotations

import errno
import io
import os
import re
from pathlib import Path

import pytest

from normfed_common import cli
from normfed_common.foundation.files import write_text
from normfed_common.wording import commands


@pytest.fixture(autouse=True)
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `cli.main` remembers of how it was begun is not there for other tests."""
    monkeypatch.setattr(commands, "_typed", commands._typed)


def ends(monkeypatch: pytest.MonkeyPatch, error: OSError) -> int:
    def command() -> None:
        raise error

    monkeypatch.setattr(cli, "build", lambda: command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_a_folder_that_may_not_be_written_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    assert ends(monkeypatch, OSError(number, os.strerror(number), "/x/runs")) == 2
    assert f"/x/runs: cannot be used here ({os.strerror(number)})" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["folder", "file/x.bib", "x" * 300])
def test_a_name_that_no_file_can_have_is_one_sentence_with_that_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    """Once a traceback of `normfed cite RUN --out FOLDER`, which named the file that was written aside."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(cli, "build", lambda: lambda: write_text(tmp_path / name, "@misc"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "cannot be used here" in said
    assert f"{tmp_path / name.partition('/')[0]}: cannot" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_is_one_sentence_and_our_own_fault_is_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "/x")) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the disk is full while writing /x" in said
    assert "normfed simulate" not in said  # whichever command it was
    assert ends(monkeypatch, OSError(errno.EFBIG, "File too large", "/x")) == 2
    assert "larger than this session may write while writing /x" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(FileNotFoundError):
        ends(monkeypatch, FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_narrow_terminal_an_error_breaks_between_words_and_a_command_is_not_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    first = "small.yaml: data.modalities: must be one of T1w, FLAIR and others, and is T1."
    command = "Look at all of them by normfed inspect /a/long/folder/of/data --study small.yaml"
    cli._tell(f"{first} {command}")
    *lines, last = re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue()).splitlines()
    assert " ".join(line.strip() for line in lines) == f"Error: {first}"
    assert max(map(len, lines)) <= 40
    assert last.strip() == command
