"""Who may do what, what two people must agree on, and whether the record can be believed: each by its attack."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from members import joined
from operator_keys import add, key_of, server, signer

from normfed_common.foundation.errors import UserError
from normfed_server.state import acting, actions, admission, operators, tokens
from normfed_server.state.folder import ServerHome


@pytest.fixture
def named(home: ServerHome, tmp_path: Path) -> ServerHome:
    """A federation with three operators, of whom one may not enrol; accepting and revoking needs two."""
    add(home, "anna", tmp_path)
    add(home, "bert", tmp_path)
    add(home, "carl", tmp_path, "run", "read")
    return ServerHome(home.folder, home.config.model_copy(update={"second_person": ("accept", "revoke")}))


def doubts(home: ServerHome) -> list[str]:
    return [why for _, why in actions.judged(home)]


def test_a_federation_without_operators_works_unsigned(home: ServerHome) -> None:
    server("enrol", "a", "--home", home.folder)
    (entry,) = actions.recorded(home)
    assert (entry.action.command, entry.by, entry.signature, entry.outcome) == ("enrol", "", "", "done")
    assert doubts(home) == [""]
    with pytest.raises(UserError, match="has no operators"):
        server("enrol", "b", "--home", home.folder, "--as", "anna")


def test_every_changing_command_asks_who_gives_it(named: ServerHome, tmp_path: Path) -> None:
    """Reading what whoever is on the machine could read anyway asks for nothing."""
    key = key_of("x", tmp_path).with_suffix(".pub")
    for command in (
        *(("enrol", "a"), ("people", "a", "3"), ("revoke", "a"), ("renew",), ("move", "g:1"), ("stop", "r")),
        *(("resume", "r"), ("excuse", "r", "a"), ("export", "r"), ("token",), ("backup", tmp_path / "b")),
        *(("ca", "move", tmp_path / "ca"), ("operator", "remove", "bert"), ("operator", "add", "x", "--public", key)),
    ):
        with pytest.raises(UserError, match="say who you are, with --as NAME --key FILE"):
            server(*command, "--home", named.folder)
    assert list(actions.recorded(named)) == []
    for command in (("runs",), ("pending",), ("actions",), ("operator", "list")):
        assert server(*command, "--home", named.folder).exit_code == 0


def test_a_command_needs_its_role_and_the_operators_own_key(named: ServerHome, tmp_path: Path) -> None:
    at = ("--home", named.folder, "--as", "carl", "--key")
    with pytest.raises(UserError, match=r"carl may not do that: `enrol` needs the role enrol"):
        server("enrol", "a", *at, key_of("carl", tmp_path))
    for other in ("anna", "stranger"):
        with pytest.raises(UserError, match="is not the key of carl"):
            server("enrol", "a", *at, key_of(other, tmp_path))
    with pytest.raises(UserError, match="No operator is called stranger"):
        signer(named, "stranger", tmp_path)
    assert admission.members(named) == {}
    server("enrol", "a", "--home", named.folder, "--as", "anna", "--key", key_of("anna", tmp_path))
    assert doubts(named) == [""]


def test_who_only_reads_makes_tokens_for_a_day_and_revokes_their_own(named: ServerHome, tmp_path: Path) -> None:
    at = ("--home", named.folder, "--as")
    carl, anna = (*at, "carl", "--key", key_of("carl", tmp_path)), (*at, "anna", "--key", key_of("anna", tmp_path))
    server("token", "--hours", "24.5", *anna)
    (theirs,) = tokens.valid(named)
    for more in (("--hours", "24.5"), ("--revoke", theirs.id)):
        with pytest.raises(UserError, match=r"carl may not do that: `token.*needs the role enrol"):
            server("token", *more, *carl)
    assert tokens.valid(named) == (theirs,)
    server("token", "--hours", "24", *carl)
    (own,) = [one for one in tokens.valid(named) if one.by == "carl"]
    server("token", "--revoke", own.id, *carl)
    server("token", "--revoke", theirs.id, *anna)
    assert tokens.valid(named) == ()


def test_what_failed_is_in_the_record_as_failed(named: ServerHome, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No site is called x"):
        acting.do(named, signer(named, "anna", tmp_path), "people", {"site": "x", "count": 3})
    (entry,) = actions.recorded(named)
    assert (entry.by, entry.outcome) == ("anna", "failed")


@pytest.mark.parametrize(
    ("edit", "doubt"),
    [
        (lambda line: line.replace('"site":"a"', '"site":"b"'), "the signature is wrong"),
        (lambda line: line.replace('"enrol"', '"revoke"'), "the signature is wrong"),
        (lambda line: line.replace('"by":"anna"', '"by":"bert"'), "no such operator"),
        (lambda line: json.dumps(json.loads(line) | {"by": "", "key": "", "signature": ""}), "nobody signed it"),
        (lambda line: line.replace('"time":"20', '"time":"19'), "when the operator was none"),
        (lambda line: re.sub(r'"federation":"....', '"federation":"0000', line), "another federation"),
    ],
)
def test_no_edit_of_the_record_is_believed(
    named: ServerHome, tmp_path: Path, edit: Callable[[str], str], doubt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting.do(named, signer(named, "anna", tmp_path), "enrol", {"site": "a"})
    assert doubts(named) == [""]
    everybody = [one.model_copy(update={"added": "2020"}) for one in operators.everybody(named)]
    monkeypatch.setattr(operators, "everybody", lambda _: tuple(everybody))
    (record,) = actions.records(named)
    edited = type(record.content).model_validate_json(edit(record.content.model_dump_json()))
    monkeypatch.setattr(actions, "records", lambda _: iter([record.model_copy(update={"content": edited})]))
    (found,) = doubts(named)
    assert doubt in found
    with pytest.raises(UserError, match="1 actions are not what they say"):
        server("actions", "--home", named.folder)


def test_signatures_of_an_operator_who_left_still_hold_and_later_ones_do_not(named: ServerHome, tmp_path: Path) -> None:
    anna, bert = signer(named, "anna", tmp_path), signer(named, "bert", tmp_path)
    alone = ServerHome(named.folder, named.config.model_copy(update={"second_person": ()}))
    acting.do(alone, bert, "enrol", {"site": "a"})
    looks, stays = tokens.make(alone, "bert", 1), tokens.make(alone, "anna", 1)
    acting.do(alone, anna, "operator remove", {"name": "bert"})
    assert doubts(alone) == ["", ""]
    assert [tokens.admits(alone, token) for token in (looks, stays)] == [False, True]
    with pytest.raises(UserError, match="No operator is called bert"):
        signer(alone, "bert", tmp_path)
    late = actions.make(alone, "enrol", {"site": "b"})
    late = late.model_copy(update={"time": (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")})
    assert bert is not None
    actions.record(alone, late, bert.operator, operators.sign(bert.key, late.canonical()))
    assert doubts(alone) == ["", "", "it was signed when the operator was none"]
    early = late.model_copy(update={"time": bert.operator.added, "nonce": "1" * 32})  # who left says it was before
    actions.record(alone, early, bert.operator, operators.sign(bert.key, early.canonical()))
    assert doubts(alone)[3:] == ["it stands after the record that its operator was removed"]
    with pytest.raises(UserError, match=r"This key is or was that of bert"):
        operators.add(alone, "zoe", operators.read_public(tmp_path / "bert.pub"), ["run"])


def test_an_unsigned_action_that_says_it_was_before_there_were_operators_is_not_believed(home: ServerHome) -> None:
    """Who owns the folder writes it after an operator was named, with the time of a day before."""
    folder = home.folder
    key_of("anna", folder)
    acting.do(home, None, "enrol", {"site": "a"})
    said = {"name": "anna", "key": operators.read_public(folder / "anna.pub"), "roles": "enrol"}
    acting.do(home, None, "operator add", said)
    assert doubts(home) == ["", ""]  # when the first was named there was nobody to sign
    for hours in (48, 0):
        time = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="seconds")
        actions.record(home, actions.make(home, "enrol", {"site": "b"}).model_copy(update={"time": time}), None, "")
    assert doubts(home)[2:] == ["nobody signed it, and there were operators"] * 2


@pytest.mark.parametrize("hours", [-48, 2])
def test_an_action_with_another_time_than_the_servers_clock_is_not_believed(home: ServerHome, hours: int) -> None:
    time = (datetime.now(UTC) + timedelta(hours=hours)).isoformat(timespec="seconds")
    actions.record(home, actions.make(home, "enrol", {"site": "b"}).model_copy(update={"time": time}), None, "")
    assert "another time than the server's clock" in doubts(home)[0]


def test_a_proposal_is_named_by_128_bits_or_a_beginning_that_no_other_has(
    named: ServerHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission.enrol(named, "a")
    anna, bert = signer(named, "anna", tmp_path), signer(named, "bert", tmp_path)
    proposal = acting.do(named, anna, "revoke", {"site": "a"})
    assert proposal is not None
    assert re.fullmatch("[0-9a-f]{32}", proposal.id)
    with pytest.raises(UserError, match="Nothing waits under"):
        acting.proposed(named, proposal.id[:7])
    twin = proposal.id[:8] + 24 * ("0" if proposal.id[8] != "0" else "1")
    with monkeypatch.context() as patch:
        patch.setattr(acting, "pending", lambda _: {proposal.id: proposal, twin: proposal})
        with pytest.raises(UserError, match=f"may be {proposal.id} or {twin}"):
            acting.proposed(named, proposal.id[:8])
    assert acting.approve(named, bert, proposal.id[:8]) == proposal
    assert acting.pending(named) == {}


def test_until_when_a_proposal_holds_follows_from_what_was_signed(
    named: ServerHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes to the folder cannot make one hold longer, nor its proposer sign it for a later day."""
    anna = signer(named, "anna", tmp_path)
    make = actions.make
    for days in (-8, 30):
        time = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")
        monkeypatch.setattr(actions, "make", lambda *said, at=time: make(*said).model_copy(update={"time": at}))
        proposal = acting.do(named, anna, "revoke", {"site": "a"})
        assert proposal is not None
        path = named.proposals / f"{proposal.id}.json"
        assert "until" not in json.loads(path.read_text())
        assert acting.pending(named) == {}
        assert not path.exists()


def test_a_second_person_accepts_what_the_first_proposed(named: ServerHome, tmp_path: Path) -> None:
    made = joined(named, "a", tmp_path)
    line, fingerprint = admission.read_key(made.public_key)
    said = {"site": "a", "key": line, "fingerprint": fingerprint}
    anna, bert, carl = (signer(named, name, tmp_path) for name in ("anna", "bert", "carl"))
    with pytest.raises(UserError, match="needs the role enrol"):
        acting.do(named, carl, "accept", said)
    proposal = acting.do(named, anna, "accept", said)
    assert proposal is not None
    assert admission.members(named)["a"].state == "invited"
    assert list(acting.pending(named)) == [proposal.id]
    with pytest.raises(UserError, match="anna's own proposal"):
        acting.approve(named, anna, proposal.id)
    with pytest.raises(UserError, match="needs the role enrol"):
        acting.approve(named, carl, proposal.id)
    assert admission.members(named)["a"].state == "invited"
    other = proposal.model_copy(update={"action": proposal.action.model_copy(update={"nonce": "0" * 32})})
    with pytest.raises(UserError, match="is not what it was a moment ago"):
        acting.approve(named, bert, proposal.id, other)
    acting.approve(named, bert, proposal.id, proposal)
    assert admission.members(named)["a"].fingerprint == fingerprint
    with pytest.raises(UserError, match="Nothing waits under"):
        acting.approve(named, bert, proposal.id)
    assert [(entry.by, entry.action.command, entry.outcome) for entry in actions.recorded(named)] == [
        ("anna", "accept", "proposed"),
        ("bert", "approve", "done"),
    ]
    assert doubts(named) == ["", ""]


def test_a_proposal_that_was_changed_or_is_old_is_not_carried_out(
    named: ServerHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission.enrol(named, "a")
    anna, bert = signer(named, "anna", tmp_path), signer(named, "bert", tmp_path)
    proposal = acting.do(named, anna, "revoke", {"site": "b"})
    assert proposal is not None
    path = named.proposals / f"{proposal.id}.json"
    path.write_text(path.read_text().replace('"site": "b"', '"site": "a"'))
    (changed,) = acting.pending(named)
    with pytest.raises(UserError, match="is not signed by anna"):
        acting.approve(named, bert, changed)
    path.unlink()
    monkeypatch.setattr(acting, "PROPOSED_DAYS", 0)
    late = acting.do(named, anna, "revoke", {"site": "a"})
    assert late is not None
    with pytest.raises(UserError, match="Nothing waits under"):
        acting.approve(named, bert, late.id)
    assert admission.members(named)["a"].state == "invited"


def test_one_operator_cannot_become_two(named: ServerHome, tmp_path: Path) -> None:
    """Who could add an operator alone would be the second person as well."""
    key_of("puppet", tmp_path)
    said = {"name": "puppet", "key": operators.read_public(tmp_path / "puppet.pub"), "roles": "enrol"}
    proposal = acting.do(named, signer(named, "anna", tmp_path), "operator add", said)
    assert proposal is not None
    assert "puppet" not in operators.active(named)
    with pytest.raises(UserError, match=r"This key is or was that of anna"):
        operators.add(named, "puppet", operators.read_public(tmp_path / "anna.pub"), ["enrol"])


def test_nobody_locks_everybody_out(home: ServerHome, tmp_path: Path) -> None:
    key_of("anna", tmp_path)
    with pytest.raises(UserError, match="The first operator needs the role enrol"):
        add(home, "anna", tmp_path, "run")
    add(home, "anna", tmp_path)
    add(home, "bert", tmp_path, "run")
    with pytest.raises(UserError, match="anna is the last operator with the role enrol"):
        operators.remove(home, "anna")
    two = ServerHome(home.folder, home.config.model_copy(update={"second_person": ("revoke",)}))
    with pytest.raises(UserError, match="anna is alone"):
        acting.do(two, signer(two, "anna", tmp_path), "revoke", {"site": "a"})
    for name, roles, sentence in (("a b", ["run"], "cannot be an operator's name"), ("c", ["root"], "not a role")):
        with pytest.raises(UserError, match=sentence):
            operators.add(home, name, operators.read_public(tmp_path / "anna.pub"), roles)


def test_an_elliptic_curve_key_signs_too() -> None:
    key, other = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    signature = operators.sign(key, b"this")
    assert operators.is_signed(operators.public_line(key), b"this", signature)
    assert not operators.is_signed(operators.public_line(key), b"that", signature)
    assert not operators.is_signed(operators.public_line(other), b"this", signature)
    assert not operators.is_signed(operators.public_line(key), b"this", "no hex")


def test_a_private_key_is_not_taken_for_a_public_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a PRIVATE key"):
        operators.read_public(key_of("anna", tmp_path))


def test_an_invitation_ends(home: ServerHome, tmp_path: Path) -> None:
    made = joined(home, "a", tmp_path)
    admission.enrol(home, "a", again=True, days=-1)
    with pytest.raises(UserError, match=r"The invitation of a ended on .*enrol a --again"):
        admission.accept(home, "a", *admission.read_key(made.public_key))
    admission.enrol(home, "a", again=True, days=1)
    admission.accept(home, "a", *admission.read_key(made.public_key))
    assert admission.members(home)["a"].state == "accepted"
