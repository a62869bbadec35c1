"""The federation's certificate authority and the server's certificate.

Sites trust the authority, not the certificate: a certificate can be renewed as often as needed and no site notices.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from normfed_common.foundation import private
from normfed_common.foundation.files import atomic
from normfed_server.state.encrypted_keys import encrypted

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397  # the longest that browsers and many proxies accept
WARN_DAYS = 30
LOCAL = ("localhost", "127.0.0.1", "::1")  # the server's own processes reach it so


def make_authority(name: str, key_path: Path, certificate_path: Path, passphrase: bytes | None = None) -> None:
    """Make a certificate authority: its key, and its certificate, which sites get.

    Parameters
    ----------
    passphrase
        That the key is encrypted by; None for a key that stays in a server's folder.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} certificate authority"[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    private.write_new(key_path, _pem(key) if passphrase is None else encrypted(key, passphrase))
    write(certificate_path, certificate)


def issue(
    hosts: tuple[str, ...], authority_key: Path, authority: Path, key_path: Path, path: Path, days: int = SERVER_DAYS
) -> None:
    """Issue the server's certificate, with a new key the first time and the same key later."""
    issuer_key = _elliptic(authority_key, "authority")
    key = server_key(key_path)
    issuer = x509.load_pem_x509_certificate(authority.read_bytes())
    write(path, signed(hosts, key.public_key(), issuer_key, issuer, days))


def server_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The server's key, made the first time."""
    if not path.exists():
        private.write_new(path, _pem(ec.generate_private_key(ec.SECP384R1())))
    return _elliptic(path, "server")


def signed(
    hosts: tuple[str, ...],
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate,
    days: int,
) -> x509.Certificate:
    """A certificate for a server, good for the hosts and for the machine itself."""
    now = datetime.now(UTC)
    end = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])]))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - timedelta(hours=1))
        .not_valid_after(end)
        .add_extension(alternatives(hosts), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA384())
    )


def alternatives(hosts: tuple[str, ...]) -> x509.SubjectAlternativeName:
    """The hosts and the machine itself, as a certificate names them."""
    return x509.SubjectAlternativeName([_alternative(host) for host in dict.fromkeys((*hosts, *LOCAL))])


def days_left(path: Path) -> float:
    """Days until a certificate expires; negative when it has."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return (certificate.not_valid_after_utc - datetime.now(UTC)) / timedelta(days=1)


def _usage(sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _elliptic(path: Path, whose: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"the {whose}'s key is not an elliptic-curve key")
    return key


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(path: Path, certificate: x509.Certificate) -> None:
    """Write a certificate atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
