"""A hospital's signature under how long its ledger is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from normfed_common.foundation.errors import UserError
from normfed_common.wire.counter import Counter

PURPOSE = "normfed ledger"  # before all that is signed: the node signs other things for Flower with the same key


class Signer:
    """Signs counters with the key of the hospital's node (ECDSA with SHA-384).

    Parameters
    ----------
    path
        Of the private key, as OpenSSH writes it.

    Raises
    ------
    UserError
        If it cannot be used.
    """

    def __init__(self, path: Path, site: str) -> None:
        self._site = site
        try:
            key = serialization.load_ssh_private_key(path.read_bytes(), None)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}). Restore it from a backup.") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise UserError(f"{path}: is not the key that normfed site join made. Restore it from a backup.")
        self._key = key

    @property
    def line(self) -> str:
        """The public key."""
        formats = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        return self._key.public_key().public_bytes(*formats).decode("ascii")

    def signed(self, entries: int, head: str) -> Counter:
        """The counter of a ledger that is so long and ends so."""
        signature = self._key.sign(_statement(self._site, entries, head), ec.ECDSA(SHA384()))
        return Counter(entries=entries, head=head, signature=signature.hex())

    def made(self, counter: Counter, lines: Iterable[str]) -> bool:
        """Whether this hospital signed a counter, with this key or an earlier one of ``lines``."""
        statement = _statement(self._site, counter.entries, counter.head)
        return any(_verifies(line, counter.signature, statement) for line in (self.line, *lines))


def _statement(site: str, entries: int, head: str) -> bytes:
    return f"{PURPOSE}\n{site}\n{entries}\n{head}".encode()


def _verifies(line: str, signature: str, statement: bytes) -> bool:
    try:
        key = serialization.load_ssh_public_key(line.encode("ascii"))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(bytes.fromhex(signature), statement, ec.ECDSA(SHA384()))
    except (ValueError, InvalidSignature):
        return False
    return True
