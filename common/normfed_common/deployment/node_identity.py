"""The key of a site's node as its signature, and the fingerprints by which a site knows the others' keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from normfed_common.deployment.enrolment import key_fingerprint, public_key
from normfed_common.foundation.errors import WireError

PURPOSE = b"normfed secure sum\n"  # before all that is signed: a node signs other things for Flower with the same key


class NodeIdentity:
    """See `normfed_common.secure.adverts.Identity`: ECDSA with SHA-384.

    Parameters
    ----------
    key
        The private key of the site's node, as OpenSSH writes it.
    peers
        Site to the fingerprint of its key, as it was compared by telephone.
    """

    def __init__(self, key: bytes, peers: Mapping[str, str]) -> None:
        found = serialization.load_ssh_private_key(key, None)
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise ValueError("not an elliptic-curve key")
        self._key, self._peers = found, peers

    @classmethod
    def read(cls, path: Path, peers: Mapping[str, str]) -> NodeIdentity:
        """Of the key in a file."""
        return cls(path.read_bytes(), peers)

    @property
    def line(self) -> str:
        """See `Identity`."""
        formats = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        return self._key.public_key().public_bytes(*formats).decode("ascii")

    def sign(self, statement: bytes) -> str:
        """See `Identity`."""
        return self._key.sign(PURPOSE + statement, ec.ECDSA(SHA384())).hex()

    def check(self, site: str, line: str, statement: bytes, signature: str) -> None:
        """See `Identity`."""
        known = self._peers.get(site)
        if known is None:
            raise WireError(f"{site} is not among the peers")
        try:
            if key_fingerprint(line.encode()) != spelt(known):
                raise WireError(f"the key of {site} is not the one that was compared")
            public_key(line.encode()).verify(bytes.fromhex(signature), PURPOSE + statement, ec.ECDSA(SHA384()))
        except (ValueError, IndexError, InvalidSignature) as error:
            raise WireError(f"the signature of {site} is not its own") from error


def spelt(fingerprint: str) -> str:
    """A fingerprint as it is printed, however it was typed."""
    digits = "".join(fingerprint.split()).upper()
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))
