"""The small file that an operator sends to a hospital, and the fingerprints that both compare by telephone."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field

from normfed_common.deployment import settings
from normfed_common.foundation.errors import UserError
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName

ADDRESS = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$"


class Enrolment(Frozen):
    """An invitation to a federation. It holds no secret: whoever has it can check the server, not join it."""

    format: Literal[1] = 1
    federation: str = Field(max_length=200, description="the federation's name")
    site: SiteName
    address: str = Field(pattern=ADDRESS, description="of the server, host:port")
    ca: str = Field(max_length=20_000, description="certificate authority that signed the server's certificate, PEM")
    ca_fingerprint: str = Field(max_length=100, description="SHA-256 of the authority's certificate")
    bundle: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the app bundle that the server will send")
    version: str = Field(max_length=50, description="normfed's version at the server")
    audit_key: str = Field(
        "",
        max_length=1000,
        description="public, with which the server signs its audit; empty of a server from before there was one",
    )
    protocol: int = Field(1, ge=1, le=10_000, description="that the server speaks; all its versions have this bundle")


def load(path: Path) -> Enrolment:
    """Read an enrolment file.

    Raises
    ------
    UserError
        If it cannot be read, or is not what the operator wrote.
    """
    again = "Ask the operator for the file again."
    try:
        enrolment = settings.read(path, Enrolment)
        found = certificate_fingerprint(enrolment.ca.encode())
        if enrolment.audit_key:
            key_fingerprint(enrolment.audit_key.encode("ascii"))
    except (UserError, ValueError) as error:
        raise UserError(f"{error} {path} is not an enrolment file. {again}") from error
    if found != enrolment.ca_fingerprint:
        raise UserError(f"{path}: the certificate in it was changed on the way. {again}")
    return enrolment


def certificate_fingerprint(pem: bytes) -> str:
    """SHA-256 of a certificate's bytes, in groups that can be read aloud.

    Raises
    ------
    ValueError
        If it is not a certificate.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    return grouped(hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest())


def key_fingerprint(line: bytes) -> str:
    """SHA-256 of a public key in OpenSSH's format, in groups that can be read aloud.

    Raises
    ------
    ValueError
        If it is not an elliptic-curve public key.
    """
    public_key(line)
    return grouped(hashlib.sha256(base64.b64decode(line.split()[1])).hexdigest())


def public_key(line: bytes) -> ec.EllipticCurvePublicKey:
    """Read a public key in OpenSSH's format.

    Raises
    ------
    ValueError
        If it is not one on the curve P-384 or another of NIST's.
    """
    try:
        key = serialization.load_ssh_public_key(line)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("not a public key in OpenSSH's format") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not an elliptic-curve key")
    return key


def grouped(digest: str) -> str:
    """The first 32 hex digits in groups of four: 128 bits, short enough to read over a telephone."""
    return " ".join(digest[i : i + 4].upper() for i in range(0, 32, 4))
