"""Signatures under records: ECDSA on P-384 with SHA-384, by the key of a site's node or the server's audit key."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from normfed_common.foundation import private
from normfed_common.foundation.errors import UserError
from normfed_common.wire.head import Head

PURPOSE = "normfed audit"  # before all that is signed: a node signs other things with the same key


def statement(chain: str, number: int, digest: str) -> bytes:
    """What is signed of a record: which it is, of which chain, and its digest, which covers all those before it."""
    return f"{PURPOSE}\n{chain}\n{number}\n{digest}".encode("ascii")


class SigningKey:
    """The private key of whoever keeps a chain.

    Parameters
    ----------
    path
        As OpenSSH writes it.

    Raises
    ------
    UserError
        If it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        try:
            key = serialization.load_ssh_private_key(path.read_bytes(), None)
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise UserError(f"{path}: cannot be read ({error}). Restore it from a backup.") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise UserError(f"{path}: is not an elliptic-curve key, so not one that normfed made. Restore it.")
        self._key = key

    @property
    def line(self) -> str:
        """The public key."""
        formats = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        return self._key.public_key().public_bytes(*formats).decode("ascii")

    def sign(self, said: bytes) -> str:
        """Its signature, in hex."""
        return self._key.sign(said, ec.ECDSA(SHA384())).hex()


class VerifyingKey:
    """A public key, one line in OpenSSH's format.

    Raises
    ------
    UserError
        If it is not one.
    """

    def __init__(self, line: str) -> None:
        try:
            key = serialization.load_ssh_public_key(line.encode("ascii"))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise UserError(f"Not a public key in OpenSSH's format ({error}). Give the file SITE.pub.") from error
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise UserError("Not an elliptic-curve key. Give the file SITE.pub that the site or server made.")
        self._key = key

    @property
    def line(self) -> str:
        """The key without a comment, as fingerprints are made of it."""
        formats = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        return self._key.public_bytes(*formats).decode("ascii")

    def made_head(self, head: Head) -> bool:
        """Whether a head is of a chain that this key signs."""
        return self.made(statement(head.chain, head.records, head.digest), head.signature)

    def made(self, said: bytes, signature: str) -> bool:
        """Whether a signature is this key's."""
        try:
            self._key.verify(bytes.fromhex(signature), said, ec.ECDSA(SHA384()))
        except (ValueError, InvalidSignature):
            return False
        return True


def make(path: Path) -> SigningKey:
    """A new key in a file that must not exist yet; nobody else may read it."""
    key = ec.generate_private_key(ec.SECP384R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    private.write_new(path, key.private_bytes(*form))
    return SigningKey(path)
