"""What a person sees of what the operating system refuses."""

from __future__ import annotations

import errno
import os

import pytest

from normfed_common import cli


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
