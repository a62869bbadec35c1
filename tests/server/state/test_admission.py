"""Who is invited, accepted and shut out, and every step between."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from members import accepted, at_the_same_time, joined

from normfed_common.deployment import bundle, enrolment
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.versions import PROTOCOL, installed_version
from normfed_server.state import admission
from normfed_server.state.folder import ServerHome, create


def public(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def accept(home: ServerHome, site: str) -> str:
    """Admit a site with a key of its own; returns its fingerprint."""
    line = public(ec.generate_private_key(ec.SECP384R1()))
    fingerprint = enrolment.key_fingerprint(line)
    admission.accept(home, site, line.decode(), fingerprint)
    return fingerprint


def bring(home: ServerHome, state: str) -> None:
    """A site `a` in a state."""
    if state == "unknown":
        return
    admission.enrol(home, "a")
    if state in ("accepted", "revoked after"):
        accept(home, "a")
    if state.startswith("revoked"):
        admission.revoke(home, "a")


STATES = ("unknown", "invited", "accepted", "revoked", "revoked after")


STEPS: dict[str, Callable[[ServerHome], object]] = {
    "enrol": lambda home: admission.enrol(home, "a"),
    "enrol again": lambda home: admission.enrol(home, "a", again=True),
    "accept": lambda home: accept(home, "a"),
    "revoke": lambda home: admission.revoke(home, "a"),
    "people": lambda home: admission.bound(home, "a", 5),
}


ALLOWED = {
    ("unknown", "enrol"): "invited",
    ("unknown", "enrol again"): "invited",
    ("invited", "enrol again"): "invited",
    ("invited", "accept"): "accepted",
    ("invited", "revoke"): "revoked",
    ("invited", "people"): "invited",
    ("accepted", "revoke"): "revoked",
    ("accepted", "people"): "accepted",
    ("revoked", "accept"): "accepted",
    ("revoked", "revoke"): "revoked",
    ("revoked", "people"): "revoked",
    ("revoked after", "accept"): "accepted",
    ("revoked after", "revoke"): "revoked",
    ("revoked after", "people"): "revoked",
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", STATES)
def test_every_step_is_allowed_or_refused_by_the_state_that_a_site_is_in(
    home: ServerHome, state: str, step: str
) -> None:
    bring(home, state)
    before = admission.members(home)
    if (state, step) in ALLOWED:
        STEPS[step](home)
        assert admission.members(home)["a"].state == ALLOWED[state, step]
        return
    with pytest.raises(UserError):
        STEPS[step](home)
    assert admission.members(home) == before


def test_a_site_that_was_shut_out_comes_back_with_a_new_key_alone(home: ServerHome) -> None:
    admission.enrol(home, "a")
    line = public(ec.generate_private_key(ec.SECP384R1())).decode()
    admission.accept(home, "a", line, enrolment.key_fingerprint(line.encode()))
    admission.revoke(home, "a")
    with pytest.raises(UserError, match=r"This key is or was that of a \(revoked\)"):
        admission.accept(home, "a", line, enrolment.key_fingerprint(line.encode()))
    fingerprint = accept(home, "a")
    assert admission.known(home, "a").fingerprint == fingerprint


def test_revoking_keeps_the_key_so_that_the_superlink_can_be_told_whom_to_shut_out(home: ServerHome) -> None:
    admission.enrol(home, "a", people=40)
    fingerprint = accept(home, "a")
    admission.revoke(home, "a")
    member = admission.known(home, "a")
    assert (member.state, member.fingerprint, member.people) == ("revoked", fingerprint, 40)
    assert member.key.startswith("ecdsa-sha2-nistp384 ")


def test_how_many_people_a_site_counts_with_is_kept_unless_said_anew(home: ServerHome) -> None:
    admission.enrol(home, "a", people=40)
    admission.enrol(home, "b")
    admission.enrol(home, "a", again=True)
    assert admission.enrolled(home) == {"a": 40}
    admission.enrol(home, "a", again=True, people=50)
    accept(home, "a")
    assert admission.enrolled(home) == {"a": 50}
    admission.bound(home, "b", 7)
    assert admission.enrolled(home) == {"a": 50, "b": 7}


@pytest.mark.parametrize("name", ["", "a b", "../a", "a/b", "ä", "a\n", "-" * 300, "all", "ALL", "pooled"])
def test_what_cannot_be_a_folder_or_is_a_word_of_tables_is_no_sites_name(home: ServerHome, name: str) -> None:
    with pytest.raises(UserError, match="cannot be a site's name"):
        admission.enrol(home, name)
    assert admission.members(home) == {}
    assert list(home.enrolments.iterdir()) == []


def test_an_invitation_says_where_the_server_is_and_how_to_know_it(home: ServerHome) -> None:
    found = enrolment.load(admission.enrol(home, "a"))
    assert (found.federation, found.site, found.address) == ("F", "a", "fed.example.org:8000")
    assert (found.ca, found.ca_fingerprint) == (home.ca.read_text(), home.fingerprint())
    assert (found.bundle, found.version) == (bundle.digest(), installed_version())
    assert found.protocol == PROTOCOL


def test_sites_are_listed_by_name_and_one_that_is_not_there_is_told_of_the_others(home: ServerHome) -> None:
    with pytest.raises(UserError, match=r"No site is called c\. Sites: none\."):
        admission.known(home, "c")
    for site in ("b", "a"):
        admission.enrol(home, site)
    assert list(admission.members(home)) == ["a", "b"]
    with pytest.raises(UserError, match=r"No site is called c\. Sites: a, b\."):
        admission.known(home, "c")


@pytest.mark.parametrize(
    "content",
    ['{"sites": ', '{"sites": {"a": {"state": "admitted", "changed": ""}}}', '{"sites": {"../a": {}}}', "[]"],
)
def test_a_damaged_list_of_sites_admits_nobody_and_is_left_for_a_person(home: ServerHome, content: str) -> None:
    home.sites.write_text(content)
    with pytest.raises(UserError, match=r"sites\.json: damaged .* Restore it from a backup"):
        admission.enrol(home, "b")
    assert home.sites.read_text() == content


def test_nodes_are_those_of_accepted_sites(home: ServerHome) -> None:
    assert admission.nodes(home) == {}
    for site in "abc":
        admission.enrol(home, site)
    for site in "ab":
        accept(home, site)
    admission.revoke(home, "b")
    admission.write_seen(home, {site: {"id": number, "online": True} for number, site in enumerate("abcd")})
    assert admission.nodes(home) == {"a": 0}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_where_what_the_superlink_said_is_damaged_nobody_is_connected(home: ServerHome, content: bytes) -> None:
    (home.folder / admission.NODES).write_bytes(content)
    assert admission.seen(home) == {}


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_a_public_key_is_read_as_its_site_wrote_it(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    line = public(ec.generate_private_key(curve))
    (tmp_path / "a.pub").write_bytes(b"\n" + line + b"\n")
    assert admission.read_key(tmp_path / "a.pub") == (line.decode(), enrolment.key_fingerprint(line))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a public key"),
        (b"ecdsa-sha2-nistp384 AAAA", "not a public key"),
        (public(ed25519.Ed25519PrivateKey.generate()), "not an elliptic-curve key"),
        ("ecdsa-sha2-nistp384 ä".encode(), "ascii"),
    ],
    ids=["empty", "cut", "another kind", "not ascii"],
)
def test_what_is_no_public_key_of_a_site_is_refused_with_its_name(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "a.pub").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.pub: not a site's public key \(.*{why}.*Ask for the file SITE\.pub"):
        admission.read_key(tmp_path / "a.pub")


def test_a_change_that_is_refused_lets_go_of_the_list(home: ServerHome) -> None:
    """A lock that stayed would stop the next one for ever."""
    with pytest.raises(UserError, match="was not invited"):
        accept(home, "a")
    admission.enrol(home, "a")
    assert json.loads(home.sites.read_text())["sites"]["a"]["state"] == "invited"


def test_an_enrolment_holds_no_secret_and_one_that_was_changed_is_refused(home: ServerHome, tmp_path: Path) -> None:
    path = admission.enrol(home, "a")
    text = path.read_text()
    for secret in (home.ca_key, home.key, home.operator_secret, home.executor_secret):
        assert secret.read_text().splitlines()[-2 if "key" in secret.name else 0] not in text
    loaded = enrolment.load(path)
    assert loaded.ca_fingerprint == home.fingerprint()
    assert loaded.bundle == bundle.digest()
    other = create(tmp_path / "other", home.config)
    raw = yaml.safe_load(text) | {"ca": other.ca.read_text()}
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match="the certificate in it was changed on the way"):
        enrolment.load(path)
    for text in ("not: an enrolment", "[1, 2", "\0"):
        path.write_text(text)
        with pytest.raises(UserError, match="is not an enrolment file"):
            enrolment.load(path)


def test_the_private_key_stays_and_the_fingerprints_agree(home: ServerHome, tmp_path: Path) -> None:
    made = joined(home, "a", tmp_path)
    private = made.folder / "site.key"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"PRIVATE" not in made.public_key.read_bytes()
    _line, fingerprint = admission.read_key(made.public_key)
    assert fingerprint == made.key_fingerprint
    with pytest.raises(UserError, match="is a PRIVATE key"):
        admission.read_key(private)


def test_keys_are_accepted_once_and_never_again(home: ServerHome, tmp_path: Path) -> None:
    first = accepted(home, "a", tmp_path)
    admission.enrol(home, "b")
    with pytest.raises(UserError, match=r"This key is or was that of a \(accepted\)"):
        admission.accept(home, "b", *admission.read_key(first.public_key))
    with pytest.raises(UserError, match="a is accepted already"):
        admission.accept(home, "a", *admission.read_key(first.public_key))
    with pytest.raises(UserError, match="z was not invited"):
        admission.accept(home, "z", *admission.read_key(first.public_key))
    admission.revoke(home, "a")
    with pytest.raises(UserError, match=r"This key is or was that of a \(revoked\)"):  # replayed
        admission.accept(home, "b", *admission.read_key(first.public_key))
    assert admission.members(home)["a"].state == "revoked"


def test_two_who_change_the_list_of_sites_at_once_lose_nothing(
    home: ServerHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads before the other writes, unless a lock keeps it from doing so."""
    made = {site: joined(home, site, tmp_path) for site in "ab"}
    at_the_same_time(
        monkeypatch,
        admission,
        [partial(admission.accept, home, s, *admission.read_key(m.public_key)) for s, m in made.items()],
    )
    assert [member.state for member in admission.members(home).values()] == ["accepted", "accepted"]
