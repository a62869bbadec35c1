"""A folder that comes back from a backup is the one that was; from a damaged one nothing comes back."""

from __future__ import annotations

import hashlib
import io
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from members import accepted, begun
from operator_keys import server

from normfed_common.foundation.errors import UserError
from normfed_server.operation import backup, restoring
from normfed_server.operation.backup import Kept, Manifest
from normfed_server.state import admission, authority, sealed_stream
from normfed_server.state.folder import ServerHome, open_home

PASSPHRASE = b"four words at random"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_stream, "COST", 2)
    monkeypatch.setattr(sealed_stream, "CHUNK", 1000)


@pytest.fixture
def lived(home: ServerHome, tmp_path: Path, study: Any) -> tuple[ServerHome, str]:
    """A server with a site and an open run, whose database another process has open, and whose log grows."""
    accepted(home, "a", tmp_path)
    run = begun(home, study)
    arm = home.runs / run / "arms" / "federated"
    arm.mkdir(parents=True)
    (arm / "progress.safetensors").write_bytes(bytes(range(256)) * 20)
    (arm / ".progress.safetensors.x1").write_bytes(b"half written")
    (home.runs / run / "events.jsonl").write_bytes(b'{"event": "one"}\n{"event": "tw')
    (home.runs / run / "central.secret").write_bytes(b"of the noise")
    (home.folder / "flower" / "apps").mkdir(parents=True)
    (home.folder / "flower" / "apps" / "x").write_bytes(b"made again")
    return home, run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_comes_back_is_what_was_there(lived: tuple[ServerHome, str], tmp_path: Path) -> None:
    home, run = lived
    made = backup.write(home, tmp_path / "b", PASSPHRASE)
    assert made.keys
    assert b"of the noise" not in (tmp_path / "b").read_bytes()
    restored = restoring.restore(tmp_path / "b", tmp_path / "other", lambda: PASSPHRASE)
    assert (restored.request, restored.manifest) == (None, made)
    before, after = contents(home.folder), contents(tmp_path / "other")
    assert after.pop(f"runs/{run}/events.jsonl") == b'{"event": "one"}\n'
    databases = {name for name in after if name.endswith(".sqlite")}
    assert databases == {"runs.sqlite"}
    assert {name: content for name, content in before.items() if name in after and name not in databases} == {
        name: content for name, content in after.items() if name not in databases
    }
    left_out = {name for name in before.keys() - after.keys() if not name.endswith((".lock", "-wal", "-shm"))}
    assert left_out == {
        f"runs/{run}/events.jsonl",
        f"runs/{run}/arms/federated/.progress.safetensors.x1",
        "flower/apps/x",
    }
    assert restored.home.ledger.all() == home.ledger.all()
    assert restored.home.check() == []
    assert admission.members(restored.home) == admission.members(home)
    assert [path for path in home.folder.iterdir() if path.name.startswith(".")] == []


def test_without_keys_a_backup_holds_none_and_the_server_gets_others(
    lived: tuple[ServerHome, str], tmp_path: Path
) -> None:
    home, run = lived
    server("backup", tmp_path / "b", "--home", home.folder)
    secrets = [home.ca_key, home.key, home.operator_secret, home.executor_secret, home.runs / run / "central.secret"]
    stored = (tmp_path / "b").read_bytes()
    for path in secrets:
        assert path.read_bytes().splitlines()[-2 if path.suffix == ".key" else 0] not in stored
    output = server("restore", tmp_path / "b", "--home", tmp_path / "other").output
    assert "a site that was revoked since is let in again" in output
    other = open_home(tmp_path / "other")
    assert other.fingerprint() == home.fingerprint()  # what sites trust
    with pytest.raises(UserError, match=r"server\.crt: missing"):
        other.check()
    other.ca_key.write_bytes(home.ca_key.read_bytes())
    other.ca_key.chmod(0o600)
    server("renew", "--home", other.folder)
    assert other.check() == []
    assert other.operator_secret.read_bytes() != home.operator_secret.read_bytes()
    assert authority.request(other, ("f",)).key.public_numbers() != authority.request(home, ("f",)).key.public_numbers()


def test_a_database_is_copied_as_one_moment_while_others_write(home: ServerHome, tmp_path: Path) -> None:
    writer = sqlite3.connect(home.database, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (n INTEGER)")
    writer.execute("INSERT INTO t VALUES (1)")
    writer.execute("BEGIN")
    writer.execute("INSERT INTO t VALUES (2)")  # not finished: not in the copy
    backup.write(home, tmp_path / "b", PASSPHRASE)
    writer.execute("COMMIT")
    writer.close()
    restoring.restore(tmp_path / "b", tmp_path / "other", lambda: PASSPHRASE)
    with sqlite3.connect(tmp_path / "other" / "superlink.db") as found:
        assert found.execute("SELECT n FROM t").fetchall() == [(1,)]
    found.close()


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def _swapped(content: bytes) -> bytes:
    head, size = 40, 1016
    first, second = content[head : head + size], content[head + size : head + 2 * size]
    return content[:head] + second + first + content[head + 2 * size :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: _flipped(c, 20),
        lambda c: _flipped(c, len(c) // 2),
        lambda c: _flipped(c, len(c) - 1),
        lambda c: c[: len(c) // 2],
        lambda c: c[: 40 + 1016 * 3],
        lambda c: c[:40],
        lambda c: c + c[-16:],
        _swapped,
        lambda c: c[: 40 + 1016] + c[40:],
    ],
    ids=["salt", "middle", "end", "cut", "cut at a chunk", "head alone", "more", "swapped", "repeated"],
)
def test_a_sealed_backup_with_any_damage_puts_nothing_in_place(
    lived: tuple[ServerHome, str], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    backup.write(lived[0], tmp_path / "b", PASSPHRASE)
    (tmp_path / "b").write_bytes(damage((tmp_path / "b").read_bytes()))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match="the passphrase is wrong, or the file is damaged"):
        restoring.restore(tmp_path / "b", tmp_path / "other", lambda: PASSPHRASE)
    assert sorted(tmp_path.iterdir()) == before


def test_a_plain_backup_with_any_damage_puts_nothing_in_place(lived: tuple[ServerHome, str], tmp_path: Path) -> None:
    backup.write(lived[0], tmp_path / "b", None)
    whole = (tmp_path / "b").read_bytes()
    before = sorted(tmp_path.iterdir())
    for content in (
        whole[:1000],
        whole[: len(whole) // 2],
        _flipped(whole, whole.index(bytes(range(256))) + 5),
        b"x" * 9999,
    ):
        (tmp_path / "b").write_bytes(content)
        with pytest.raises(UserError, match=r"damaged|not whole"):
            restoring.restore(tmp_path / "b", tmp_path / "other", lambda: b"")
        assert sorted(tmp_path.iterdir()) == before


def _archive(path: Path, home: ServerHome, **files: bytes) -> None:
    """A tar that somebody else made, whose manifest says the truth."""
    kept = {name: Kept(size=len(c), sha256=hashlib.sha256(c).hexdigest()) for name, c in files.items()}
    manifest = Manifest(
        *(), federation="F", fingerprint=home.fingerprint(), address="f:1", time="", version="", keys=False, files=kept
    )
    with tarfile.open(path, "w") as tar:
        for name, content in (*files.items(), (backup.MANIFEST, manifest.model_dump_json().encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/../../out", "a//b", "./a", ".."])
def test_a_backup_never_writes_outside_its_folder(home: ServerHome, tmp_path: Path, name: str) -> None:
    _archive(tmp_path / "b", home, **{name: b"hostile"})
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match="which no backup holds"):
        restoring.restore(tmp_path / "b", tmp_path / "other", lambda: b"")
    assert sorted(tmp_path.iterdir()) == before


def test_links_in_a_backup_are_refused(home: ServerHome, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "b", "w") as tar:
        member = tarfile.TarInfo("server.yaml")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(UserError, match="which no backup holds"):
        restoring.restore(tmp_path / "b", tmp_path / "other", lambda: b"")


def test_nothing_is_overwritten(home: ServerHome, tmp_path: Path) -> None:
    backup.write(home, tmp_path / "b", None)
    with pytest.raises(UserError, match="is there already"):
        backup.write(home, tmp_path / "b", None)
    with pytest.raises(UserError, match="is inside"):
        backup.write(home, home.folder / "b", None)
    with pytest.raises(UserError, match="there is something already"):
        restoring.restore(tmp_path / "b", home.folder, lambda: b"")
    with pytest.raises(UserError, match="fewer than 12 characters"):
        backup.write(home, tmp_path / "c", b"short")
    assert not (tmp_path / "c").exists()


def test_a_backup_that_ends_within_a_chunk_or_at_its_end_is_whole(tmp_path: Path) -> None:
    for size in (0, 1, 999, 1000, 1001, 2000, 5500):
        content = bytes(n % 251 for n in range(size))
        with open(tmp_path / "s", "wb") as file:
            sealer = sealed_stream.Sealer(file, PASSPHRASE)
            for start in range(0, size, 300):
                sealer.write(content[start : start + 300])
            sealer.close()
        with open(tmp_path / "s", "rb") as file:
            opener = sealed_stream.Opener(file, PASSPHRASE, "s")
            assert b"".join(iter(lambda: opener.read(700), b"")) == content  # noqa: B023  (read at once)
