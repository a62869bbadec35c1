"""What the authority signs, judged by the cryptography library's own verifier and by its reading of each field."""

from __future__ import annotations

import ipaddress
import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import normfed
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from normfed_common.foundation.errors import UserError
from normfed_server.state import admission, certificates
from normfed_server.state.certificates import (
    AUTHORITY_DAYS,
    SERVER_DAYS,
    days_left,
    issue,
    make_authority,
)
from normfed_server.state.folder import ServerHome, open_home


class Files(NamedTuple):
    """Where keys and certificates are."""

    authority_key: Path
    authority: Path
    key: Path
    certificate: Path

    def issue(self, *hosts: str, days: int = SERVER_DAYS) -> x509.Certificate:
        issue(hosts, self.authority_key, self.authority, self.key, self.certificate, days)
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    @property
    def root(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.authority.read_bytes())


def federation(folder: Path, name: str = "F") -> Files:
    folder.mkdir()
    files = Files(*(folder / name for name in ("ca.key", "ca.crt", "server.key", "server.crt")))
    make_authority(name, files.authority_key, files.authority)
    return files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return federation(tmp_path / "one")


def named(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def verify(root: x509.Certificate, leaf: x509.Certificate, host: str, when: datetime | None = None) -> None:
    """Under the rules of the web's public key infrastructure, where a chain ends at this root and at no other."""
    rules = PolicyBuilder().store(Store([root])).time(when or datetime.now(UTC))
    rules.build_server_verifier(named(host)).verify(leaf, [])


@pytest.mark.parametrize("host", ["fed.example.org", "old.example.org", "2001:db8::7", "localhost", "127.0.0.1", "::1"])
def test_the_server_is_believed_under_all_its_names_and_on_its_own_machine(files: Files, host: str) -> None:
    leaf = files.issue("fed.example.org", "old.example.org", "[2001:db8::7]")
    verify(files.root, leaf, host)
    leaf.verify_directly_issued_by(files.root)


@pytest.mark.parametrize("host", ["example.org", "www.fed.example.org", "fed.example.com", "127.0.0.2", "2001:db8::8"])
def test_it_is_believed_under_no_other_name(files: Files, host: str) -> None:
    with pytest.raises(VerificationError):
        verify(files.root, files.issue("fed.example.org", "[2001:db8::7]"), host)


def test_the_authority_of_another_federation_of_the_same_name_vouches_for_nothing(files: Files, tmp_path: Path) -> None:
    other = federation(tmp_path / "other")
    with pytest.raises(VerificationError):
        verify(other.root, files.issue("fed.example.org"), "fed.example.org")


def test_the_server_cannot_sign_for_others(files: Files, tmp_path: Path) -> None:
    files.issue("fed.example.org")
    forged = Files(files.key, files.certificate, tmp_path / "forged.key", tmp_path / "forged.crt").issue("victim.org")
    rules = PolicyBuilder().store(Store([files.root])).time(datetime.now(UTC))
    server = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    with pytest.raises(VerificationError):
        rules.build_server_verifier(x509.DNSName("victim.org")).verify(forged, [server])


def test_a_name_that_is_given_twice_or_is_the_machines_own_stands_once(files: Files) -> None:
    leaf = files.issue("localhost", "fed.example.org", "fed.example.org")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "fed.example.org"]


@pytest.mark.parametrize(
    ("changed", "believed"),
    [
        (lambda leaf: leaf.not_valid_before_utc - timedelta(seconds=1), False),
        (lambda leaf: leaf.not_valid_before_utc, True),
        (lambda leaf: leaf.not_valid_after_utc, True),
        (lambda leaf: leaf.not_valid_after_utc + timedelta(seconds=1), False),
    ],
)
def test_it_is_believed_within_its_time(
    files: Files, changed: Callable[[x509.Certificate], datetime], believed: bool
) -> None:
    leaf = files.issue("fed.example.org", days=3)
    if believed:
        verify(files.root, leaf, "fed.example.org", changed(leaf))
        return
    with pytest.raises(VerificationError):
        verify(files.root, leaf, "fed.example.org", changed(leaf))


def test_clocks_an_hour_behind_are_borne_with_and_terms_are_as_said(files: Files) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    leaf, root = files.issue("fed.example.org"), files.root
    for certificate, days in ((leaf, 397), (root, 3650)):
        began = certificate.not_valid_before_utc + timedelta(hours=1)
        assert abs(began - before) < timedelta(minutes=1)
        assert certificate.not_valid_after_utc - began == timedelta(days=days)
    assert (SERVER_DAYS, AUTHORITY_DAYS) == (397, 3650)
    assert days_left(files.certificate) == pytest.approx(397, abs=0.01)


def test_no_certificate_outlives_its_authority(files: Files) -> None:
    assert files.issue("f.org", days=2 * AUTHORITY_DAYS).not_valid_after_utc == files.root.not_valid_after_utc


@pytest.mark.parametrize("days", [-400, -3])
def test_one_that_has_expired_began_before_it_ended(files: Files, days: int) -> None:
    leaf = files.issue("f.org", days=days)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(hours=1)
    assert days_left(files.certificate) == pytest.approx(days, abs=0.01)


def test_each_says_what_it_may_be_used_for_and_nothing_more(files: Files) -> None:
    leaf, root = files.issue("f.org").extensions, files.root.extensions
    constraints = root.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(ca=True, path_length=0))
    assert leaf.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert list(leaf.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    ours, theirs = (found.get_extension_for_class(x509.KeyUsage).value for found in (leaf, root))
    assert (ours.digital_signature, ours.key_cert_sign, ours.crl_sign) == (True, False, False)
    assert (theirs.digital_signature, theirs.key_cert_sign, theirs.crl_sign) == (False, True, True)
    for usage in (ours, theirs):
        assert (usage.key_encipherment, usage.data_encipherment, usage.key_agreement) == (False, False, False)
    issuer = leaf.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert issuer == root.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def test_keys_and_signatures_are_of_192_bits_of_strength(files: Files) -> None:
    for certificate in (files.issue("f.org"), files.root):
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp384r1"
        assert isinstance(certificate.signature_hash_algorithm, hashes.SHA384)


def test_a_renewed_certificate_has_the_key_of_the_first_and_a_number_of_its_own(files: Files) -> None:
    first, key = files.issue("f.org"), files.key.read_bytes()
    second = files.issue("f.org")
    assert first.public_key() == second.public_key()
    assert first.serial_number != second.serial_number
    assert files.key.read_bytes() == key
    assert [stat.S_IMODE(path.stat().st_mode) for path in (files.key, files.authority_key)] == [0o600, 0o600]


def test_an_authority_is_never_made_over_another(files: Files) -> None:
    before = files.authority_key.read_bytes(), files.authority.read_bytes()
    with pytest.raises(FileExistsError):
        make_authority("F", files.authority_key, files.authority)
    assert (files.authority_key.read_bytes(), files.authority.read_bytes()) == before


def test_long_names_are_cut_to_what_a_certificate_may_hold(tmp_path: Path) -> None:
    files = federation(tmp_path / "f", "n" * 200)
    host = "h" * 60 + "." + "i" * 60
    verify(files.root, files.issue(host), host)
    common = files.root.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    assert len(common) == 64  # RFC 5280, ub-common-name


@pytest.mark.parametrize(("place", "whose"), [("authority_key", "authority"), ("key", "server")])
def test_a_key_of_another_kind_is_refused_before_anything_is_written(files: Files, place: str, whose: str) -> None:
    key = rsa.generate_private_key(65537, 2048)
    other = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    getattr(files, place).write_bytes(other)
    with pytest.raises(TypeError, match=f"the {whose}'s key is not an elliptic-curve key"):
        files.issue("f.org")
    assert not files.certificate.exists()


def test_the_certificate_is_good_for_the_address_and_openssl_believes_it(home: ServerHome) -> None:
    served = x509.load_pem_x509_certificate(home.certificate.read_bytes())
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fed.example.org", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(home.certificate, home.key)
    assert _shake_hands(ssl.create_default_context(cafile=str(home.ca)), server, "fed.example.org") is None
    wrong = _shake_hands(ssl.create_default_context(cafile=str(home.ca)), server, "other.example.org")
    assert "Hostname mismatch" in str(wrong)
    assert "unable to get local issuer" in str(_shake_hands(ssl.create_default_context(), server, "fed.example.org"))


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> ssl.SSLError | None:
    """TLS in memory, as two machines would; the client's complaint."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server, server_hostname=name)
    right = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(6):
        for end in (left, right):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return error
    return None


def test_renewing_never_invalidates_sites_and_expiry_is_warned_of(home: ServerHome) -> None:
    authority, key = home.ca.read_bytes(), home.key.read_bytes()
    certificates.issue(("fed.example.org",), home.ca_key, home.ca, home.key, home.certificate, days=20)
    (warning,) = home.check()
    assert "expires in 19 days" in warning or "expires in 20 days" in warning
    home.issue_certificate()
    assert home.check() == []
    assert home.ca.read_bytes() == authority  # what sites trust
    assert home.key.read_bytes() == key
    certificates.issue(("fed.example.org",), home.ca_key, home.ca, home.key, home.certificate, days=-3)
    with pytest.raises(UserError, match=r"expired 3 days ago\. Renew it: normfed server renew"):
        home.check()


def test_a_server_moves_and_its_certificate_is_good_for_both_addresses(home: ServerHome, tmp_path: Path) -> None:
    path = home.folder / "server.yaml"
    path.write_text("# ours\n" + path.read_text())
    admission.enrol(home, "late")
    authority = home.ca.read_bytes()
    result = normfed("server", "move", "new.example.org:9000", "--home", home.folder)
    assert "normfed site move new.example.org:9000" in result.output
    assert "normfed server enrol late --again" in result.output
    moved = open_home(home.folder)
    assert (moved.config.address, moved.config.port, moved.config.host) == (
        *("new.example.org:9000", 9000),
        "new.example.org",
    )
    assert path.read_text().startswith("# ours\n")
    assert home.ca.read_bytes() == authority
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(home.certificate, home.key)
    for name in ("new.example.org", "fed.example.org"):
        assert _shake_hands(ssl.create_default_context(cafile=str(home.ca)), server, name) is None
    (home.folder / "server.yaml").write_text("name: F\naddress: fed.example.org:443\nport: 8000\n")
    normfed("server", "move", "last.example.org:443", "--home", home.folder)
    assert open_home(home.folder).config.port == 8000  # behind a port mapping, as before


def test_days_left_counts_down(home: ServerHome) -> None:
    certificate = x509.load_pem_x509_certificate(home.certificate.read_bytes())
    expected = (certificate.not_valid_after_utc - datetime.now(UTC)) / timedelta(days=1)
    assert certificates.days_left(home.certificate) == pytest.approx(expected, abs=0.01)
