"""What is its owner's alone is so at every moment, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from normfed_common.foundation import private
from normfed_common.foundation.errors import UserError


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """A machine on which everybody may read whatever is not closed."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_closed_and_one_that_was_open_too(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    for folder in (tmp_path / "open", tmp_path / "new" / "deeper"):
        private.make_folder(folder)
        assert mode(folder) == 0o700
    (tmp_path / "open" / "kept").touch()
    private.make_folder(tmp_path / "open")
    assert (tmp_path / "open" / "kept").exists()


def test_a_secret_is_closed_and_holds_what_was_written(tmp_path: Path) -> None:
    private.write_new(tmp_path / "key", b"\x00secret\n")
    assert (tmp_path / "key").read_bytes() == b"\x00secret\n"
    assert mode(tmp_path / "key") == 0o600
    private.check(tmp_path / "key")


def test_a_secret_is_closed_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.fdopen
    modes: list[int] = []

    def watching(handle: int, kind: str) -> object:
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return opened(handle, kind)

    monkeypatch.setattr(os, "fdopen", watching)
    private.write_new(tmp_path / "key", b"secret")
    assert modes == [0o600]


def test_a_secret_is_never_written_over_nor_through_a_link(tmp_path: Path) -> None:
    private.write_new(tmp_path / "key", b"first")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("key", "link"):
        with pytest.raises(FileExistsError):
            private.write_new(tmp_path / name, b"second")
    assert (tmp_path / "key").read_bytes() == b"first"
    assert not (tmp_path / "elsewhere").exists()


def test_secrets_are_256_bits_of_text_and_never_the_same() -> None:
    found = [private.secret() for _ in range(20)]
    assert len(set(found)) == 20
    assert all(len(bytes.fromhex(secret.decode())) == 32 for secret in found)


@pytest.mark.parametrize("rights", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_any_right_of_others_is_refused_with_its_cure(tmp_path: Path, rights: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    path.chmod(rights)
    with pytest.raises(UserError, match=f"not only its owner may read it. Restrict it: chmod 600 {path}"):
        private.check(path)
    path.chmod(0o700)
    private.check(path)


def test_a_secret_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"key: missing\. Restore it from a backup"):
        private.check(tmp_path / "key")
