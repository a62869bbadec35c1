"""The server's chain: what an operator does is in it, before it is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_common.chain import files
from normfed_common.chain.keys import VerifyingKey
from normfed_common.chain.kinds.server import Membership, TurnedAway
from normfed_common.chain.kinds.shared import Stopped
from normfed_common.chain.verifying import verify
from normfed_common.foundation.errors import UserError
from normfed_server.state import admission
from normfed_server.state.chain import chain_of, key_of, make_key, record
from normfed_server.state.folder import ServerConfig, ServerHome, create
from normfed_server.superlink.refusals import COUNTED, HOURLY, Refusals, Turned


@pytest.fixture
def home(tmp_path: Path) -> ServerHome:
    return create(tmp_path / "server", ServerConfig(name="Fédération", address="fed.example.org:8000"))


def test_a_folder_from_before_there_was_an_audit_key_gets_one_and_never_a_second(home: ServerHome) -> None:
    assert not home.audit_key.exists()
    record(home, Stopped())
    assert home.audit_key.stat().st_mode & 0o077 == 0
    line = key_of(home).line
    assert line in home.audit_key.with_suffix(".pub").read_text()
    assert verify(chain_of(home).lines(), VerifyingKey(line)).good
    home.audit_key.rename(home.folder / "lost.key")
    with pytest.raises(UserError, match="Restore it from a backup"):
        record(home, Stopped())


def test_what_the_operator_does_with_sites_is_recorded_and_nothing_is_done_that_cannot_be(
    home: ServerHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_key(home)
    admission.enrol(home, "north", people=40)
    admission.bound(home, "north", 30)
    admission.accept(home, "north", "ecdsa-key", " ".join(["ABCD"] * 8))
    admission.revoke(home, "north")
    found = [r.content for r in chain_of(home).records() if isinstance(r.content, Membership)]
    assert [(one.kind, one.site, one.people) for one in found] == [
        ("invited", "north", 40),
        ("bounded", "north", 30),
        ("accepted", "north", None),
        ("revoked", "north", None),
    ]
    assert found[2].fingerprint == " ".join(["ABCD"] * 8)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_flushed", full)
    with pytest.raises(UserError, match=r"audit\.jsonl: cannot be written \(the disk is full\)"):
        admission.enrol(home, "south")
    monkeypatch.undo()
    assert set(admission.members(home)) == {"north"}


def test_strangers_are_told_by_address_and_hour_and_a_flood_of_them_together(tmp_path: Path) -> None:
    told: list[Turned] = []
    hours = ["2026-07-01T13"]
    door = Refusals(tmp_path / "door.log", lambda: 0.0, told.append, lambda: hours[-1])
    for _ in range(5):
        door.note("192.0.2.1", "asked without a key for", "/v1/fleet/x")
    for number in range(2 * COUNTED):
        door.note(f"2001:db8:{number:x}::1", "asked without a key for", "/")
    assert told == []
    hours.append("2026-07-01T14")
    door.flush()
    assert len(told) == HOURLY + 1
    assert told[0] == ("192.0.2.1", "asked without a key for", 5, "2026-07-01T13")
    assert told[-1][:2] == ("", "other addresses")
    assert sum(times for _, _, times, _ in told) == 2 * COUNTED + 5
    for who, why, times, hour in told:
        TurnedAway(network=who, why=why, times=times, hour=hour)
    door.sum_up()
    assert len(told) == HOURLY + 1
