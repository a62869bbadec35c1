"""A certificate authority apart: its key is encrypted, on another disk or machine, and signs what the server asks for.

Whoever breaks into the exposed server then has its certificate until that ends, and cannot make another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from normfed_common.deployment.enrolment import certificate_fingerprint, key_fingerprint
from normfed_common.foundation import private
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_text
from normfed_server.state import certificates
from normfed_server.state.encrypted_keys import encrypted, load
from normfed_server.state.folder import ServerHome

KEY, CERTIFICATE = "ca.key", "ca.crt"


@dataclass(frozen=True)
class Request:
    """What a server asks an authority to sign.

    Parameters
    ----------
    hosts
        Names and addresses.
    fingerprint
        Of the server's public key, to compare between the two machines.
    """

    hosts: tuple[str, ...]
    key: ec.EllipticCurvePublicKey
    fingerprint: str


def make(name: str, folder: Path, passphrase: bytes) -> None:
    """Make an authority in a folder of its own.

    Raises
    ------
    UserError
        If there is one already, or the passphrase is too short.
    """
    for path in (folder / KEY, folder / CERTIFICATE):
        if path.exists():
            raise UserError(f"{path}: is there already. An authority is never overwritten; choose another folder.")
    private.make_folder(folder)
    certificates.make_authority(name, folder / KEY, folder / CERTIFICATE, passphrase)


def key_of(folder: Path, passphrase: bytes) -> ec.EllipticCurvePrivateKey:
    """The key of an authority, once it is sure that its certificate is the one beside it.

    Raises
    ------
    UserError
        If the passphrase is wrong, or the two do not belong together.
    """
    key, certificate = load(folder / KEY, passphrase), _certificate(folder / CERTIFICATE)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise UserError(f"{folder / KEY}: is not the key of {folder / CERTIFICATE}. Restore both from one backup.")
    return key


def request(home: ServerHome, hosts: tuple[str, ...]) -> Request:
    """Write the request for a certificate of a server, `server.csr`, for the authority to sign."""
    key = certificates.server_key(home.key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(certificates.alternatives(hosts), critical=False)
        .sign(key, hashes.SHA384())
    )
    write_text(home.request, made.public_bytes(serialization.Encoding.PEM).decode("ascii"))
    return read_request(home.request)


def read_request(path: Path) -> Request:
    """A request as it is; nothing of it but hosts and key will be in a certificate.

    Raises
    ------
    UserError
        If it is not one.
    """
    again = "Write it again: normfed server renew"
    try:
        found = x509.load_pem_x509_csr(path.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        valid = found.is_signature_valid
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        raise UserError(f"{path}: not a certificate request of a server ({error}). {again}") from error
    key = found.public_key()
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or len(names) > 20:
        raise UserError(f"{path}: is not signed by the key in it, or of another kind than a server's. {again}")
    hosts = [name for name in _hosts(names) if name not in certificates.LOCAL] or _hosts(names)
    if not hosts or any("*" in host for host in hosts):
        raise UserError(f"{path}: names no host, or all hosts of a domain. {again}")
    return Request(tuple(hosts), key, _fingerprint(key))


def sign(asked: Request, folder: Path, passphrase: bytes, out: Path, days: int = certificates.SERVER_DAYS) -> None:
    """Sign a request; writes the certificate.

    Raises
    ------
    UserError
        If the authority cannot be used.
    """
    issuer_key, issuer = key_of(folder, passphrase), _certificate(folder / CERTIFICATE)
    if issuer.not_valid_after_utc < datetime.now(UTC):
        raise UserError(f"{folder / CERTIFICATE}: has expired. Make a new federation; sites have to join it again.")
    certificates.write(out, certificates.signed(asked.hosts, asked.key, issuer_key, issuer, days))


def install(home: ServerHome, path: Path, hosts: tuple[str, ...]) -> None:
    """Put a certificate in place that the authority signed, once it is what this server needs.

    Raises
    ------
    UserError
        If it is another authority's or server's, lacks a host, or is not valid now.
    """
    found, issuer = _certificate(path), _certificate(home.ca)
    try:
        found.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise UserError(f"{path}: was not signed by this federation's authority, {home.fingerprint()}.") from error
    if found.public_key() != certificates.server_key(home.key).public_key():
        raise UserError(f"{path}: is for another key than {home.key}. Have {home.request} signed.")
    try:
        names = _hosts(found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        authority = found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound as error:
        raise UserError(f"{path}: is not a server's certificate ({error}). Have {home.request} signed.") from error
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage or authority:
        raise UserError(f"{path}: is not a server's certificate. Have {home.request} signed.")
    missing = [host for host in _hosts(certificates.alternatives(hosts)) if host not in names]
    if missing:
        raise UserError(f"{path}: is not good for {', '.join(missing)}. Have {home.request} signed.")
    now = datetime.now(UTC)
    if not found.not_valid_before_utc <= now < found.not_valid_after_utc:
        raise UserError(
            f"{path}: is valid from {found.not_valid_before_utc:%Y-%m-%d} to {found.not_valid_after_utc:%Y-%m-%d}, "
            "and not now. Check the clocks of both machines, or have the request signed again."
        )
    certificates.write(home.certificate, found)
    home.request.unlink(missing_ok=True)


def take_apart(home: ServerHome, folder: Path, passphrase: bytes) -> None:
    """Move an authority's key out of a server's folder, encrypted; nothing of it is left there.

    Raises
    ------
    UserError
        If it is apart already, or the other folder is not apart.
    """
    if not home.ca_key.exists():
        raise UserError(f"{home.folder}: has no ca.key; the authority is kept apart already.")
    if folder.resolve().is_relative_to(home.folder.resolve()):
        raise UserError(f"{folder}: is inside {home.folder}. Choose a folder on another disk or machine.")
    for path in (folder / KEY, folder / CERTIFICATE):
        if path.exists():
            raise UserError(f"{path}: is there already. An authority is never overwritten; choose another folder.")
    key = load(home.ca_key, None)
    content = encrypted(key, passphrase)
    private.make_folder(folder)
    private.write_new(folder / KEY, content)
    certificates.write(folder / CERTIFICATE, _certificate(home.ca))
    key_of(folder, passphrase)  # it can be read again
    size = home.ca_key.stat().st_size
    with open(home.ca_key, "r+b") as file:  # a disk may keep older blocks all the same
        file.write(b"\0" * size)
        file.flush()
        os.fsync(file.fileno())
    home.ca_key.unlink()


def fingerprint(folder: Path) -> str:
    """Of an authority's certificate.

    Raises
    ------
    UserError
        If there is none.
    """
    certificate = _certificate(folder / CERTIFICATE)
    return certificate_fingerprint(certificate.public_bytes(serialization.Encoding.PEM))


def adopt(home: ServerHome, folder: Path) -> None:
    """Put the certificate of an authority apart into a server's folder."""
    certificates.write(home.ca, _certificate(folder / CERTIFICATE))


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a certificate that can be read ({error}).") from error


def _hosts(names: x509.SubjectAlternativeName) -> list[str]:
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    form = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return key_fingerprint(key.public_bytes(*form))
