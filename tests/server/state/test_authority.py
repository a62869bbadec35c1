"""An authority apart: what it signs, and what a server takes of what comes back."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store
from operator_keys import server

from normfed_common.foundation.errors import UserError
from normfed_server.state import authority, certificates, encrypted_keys
from normfed_server.state.folder import ServerConfig, ServerHome, create, open_home

PASSPHRASE = b"four words at random"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a guess costs is tested where keys are."""
    monkeypatch.setattr(encrypted_keys, "COST", 2)
    monkeypatch.setenv("NORMFED_CA_PASSPHRASE", PASSPHRASE.decode())


@pytest.fixture
def apart(tmp_path: Path) -> tuple[ServerHome, Path]:
    """A server without the authority's key, and the folder that has it."""
    server(
        *("init", "--name", "F", "--address", "fed.example.org:8000", "--home", tmp_path / "server"),
        *("--ca", tmp_path / "ca"),
    )
    return open_home(tmp_path / "server"), tmp_path / "ca"


def test_a_server_whose_authority_is_apart_has_no_key_to_steal(apart: tuple[ServerHome, Path]) -> None:
    home, folder = apart
    assert home.check() == []
    assert not home.ca_key.exists()
    assert not home.request.exists()
    assert stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600
    assert b"ENCRYPTED" in (folder / "ca.key").read_bytes()
    assert authority.fingerprint(folder) == home.fingerprint()
    with pytest.raises(UserError, match="the passphrase is wrong"):
        authority.key_of(folder, b"another passphrase")


def test_a_certificate_is_asked_for_signed_elsewhere_and_put_in_place(
    apart: tuple[ServerHome, Path], tmp_path: Path
) -> None:
    home, folder = apart
    before = home.certificate.read_bytes()
    at, out = ("--home", home.folder), tmp_path / "server.crt"
    asked = server("renew", *at)
    assert home.certificate.read_bytes() == before
    shown = server("ca", "sign", home.request, "--ca", folder, "--out", out, "--yes")
    fingerprint = authority.read_request(home.request).fingerprint
    assert fingerprint in asked.output
    assert fingerprint in shown.output
    server("renew", "--certificate", out, *at)
    assert home.certificate.read_bytes() != before
    assert not home.request.exists()
    root, leaf = (x509.load_pem_x509_certificate(path.read_bytes()) for path in (home.ca, home.certificate))
    verifier = PolicyBuilder().store(Store([root])).build_server_verifier(x509.DNSName("fed.example.org"))
    verifier.verify(leaf, [])
    assert home.check() == []


def test_a_server_moves_with_its_authority_apart(apart: tuple[ServerHome, Path], tmp_path: Path) -> None:
    home, folder = apart
    move, out = ("move", "new.example.org:9000", "--home", home.folder), tmp_path / "server.crt"
    server("renew", "--home", home.folder)
    server("ca", "sign", home.request, "--ca", folder, "--out", out, "--yes")
    with pytest.raises(UserError, match=r"is not good for new\.example\.org"):
        server(*move, "--certificate", out)
    assert open_home(home.folder).config.address == "fed.example.org:8000"
    server(*move)
    assert open_home(home.folder).config.address == "fed.example.org:8000"  # not before it is signed
    server("ca", "sign", home.request, "--ca", folder, "--out", out, "--yes")
    server(*move, "--certificate", out)
    assert open_home(home.folder).config.address == "new.example.org:9000"


def test_an_authority_on_another_machine_is_never_on_the_servers(tmp_path: Path) -> None:
    offline, stick, exposed = tmp_path / "offline", tmp_path / "stick", tmp_path / "server"
    server("ca", "make", offline, "--name", "F")
    stick.mkdir()
    (stick / "ca.crt").write_bytes((offline / "ca.crt").read_bytes())
    said = server("init", "--name", "F", "--address", "f.org:1", "--home", exposed, "--ca", stick)
    assert "have" in said.output
    with pytest.raises(UserError, match=r"server\.crt: missing\. Have .*server\.csr signed"):
        open_home(exposed).check()
    server("ca", "sign", exposed / "server.csr", "--ca", offline, "--out", stick / "s.crt", "--yes")
    server("renew", "--certificate", stick / "s.crt", "--home", exposed)
    assert open_home(exposed).check() == []


def _signed(home: ServerHome, folder: Path, **changes: object) -> x509.Certificate:
    key, issuer = authority.key_of(folder, PASSPHRASE), x509.load_pem_x509_certificate(home.ca.read_bytes())
    asked = {"hosts": ("fed.example.org",), "key": certificates.server_key(home.key).public_key(), "days": 10} | changes
    return certificates.signed(asked["hosts"], asked["key"], key, issuer, asked["days"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda h, f: _signed(h, f, key=ec.generate_private_key(ec.SECP384R1()).public_key()), "is for another key"),
        (lambda h, f: _signed(h, f, hosts=("other.example.org",)), r"not good for fed\.example\.org"),
        (lambda h, f: _signed(h, f, days=-1), "and not now"),
        (lambda h, f: x509.load_pem_x509_certificate(h.ca.read_bytes()), "is for another key"),
    ],
)
def test_a_certificate_that_is_not_this_servers_is_not_put_in_place(
    apart: tuple[ServerHome, Path],
    tmp_path: Path,
    made: Callable[[ServerHome, Path], x509.Certificate],
    sentence: str,
) -> None:
    home, folder = apart
    before = home.certificate.read_bytes()
    certificates.write(tmp_path / "c.crt", made(home, folder))
    with pytest.raises(UserError, match=sentence):
        authority.install(home, tmp_path / "c.crt", ("fed.example.org",))
    assert home.certificate.read_bytes() == before


def test_a_certificate_of_another_authority_is_not_put_in_place(apart: tuple[ServerHome, Path], tmp_path: Path) -> None:
    home, _ = apart
    other = create(tmp_path / "other", ServerConfig(name="F", address="fed.example.org:8000"))  # of the same name
    with pytest.raises(UserError, match="was not signed by this federation's authority"):
        authority.install(home, other.certificate, ("fed.example.org",))


def test_no_more_than_hosts_and_key_of_a_request_is_signed(apart: tuple[ServerHome, Path], tmp_path: Path) -> None:
    """Who has the server asks for an authority of his own."""
    home, folder = apart
    key = certificates.server_key(home.key)
    hostile = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")]))
        .add_extension(certificates.alternatives(("fed.example.org",)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA384())
    )
    path = tmp_path / "hostile.csr"
    path.write_bytes(hostile.public_bytes(serialization.Encoding.PEM))
    authority.sign(authority.read_request(path), folder, PASSPHRASE, tmp_path / "c.crt")
    made = x509.load_pem_x509_certificate((tmp_path / "c.crt").read_bytes())
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert made.not_valid_after_utc < datetime.now(UTC) + timedelta(days=398)
    content = bytearray(home.folder.joinpath("server.crt").read_bytes())
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a certificate request"):
        authority.read_request(path)


def test_a_key_is_taken_out_of_a_folder_and_nothing_is_left(home: ServerHome, tmp_path: Path) -> None:
    body = b"".join(home.ca_key.read_bytes().splitlines()[1:-1])
    with pytest.raises(UserError, match="is inside"):
        authority.take_apart(home, home.folder / "ca", PASSPHRASE)
    server("ca", "move", tmp_path / "ca", "--home", home.folder)
    for path in home.folder.rglob("*"):
        assert not path.is_file() or body[60:100] not in path.read_bytes().replace(b"\n", b"")
    assert home.check() == []
    asked = authority.request(home, ("fed.example.org",))
    authority.sign(asked, tmp_path / "ca", PASSPHRASE, tmp_path / "server.crt")
    authority.install(home, tmp_path / "server.crt", ("fed.example.org",))
    with pytest.raises(UserError, match="kept apart already"):
        server("ca", "move", tmp_path / "ca2", "--home", home.folder)
