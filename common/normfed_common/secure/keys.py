"""What two sites have in common that the server, who carries all messages, has not: X25519, HKDF, ChaCha20-Poly1305.

A key is used for one purpose between two sites in one exchange: the purpose, the exchange and both names are in what it
is derived from.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from normfed_common.foundation.errors import WireError

NONCE = bytes(12)  # of a key that encrypts one message


def new_secret() -> bytes:
    """32 bytes: a private key, or the key of a mask."""
    return os.urandom(32)


def public(secret: bytes) -> bytes:
    """The public key of a private one, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def derived(material: bytes, *purpose: str) -> bytes:
    """A key of 32 bytes for one purpose (HKDF with SHA-256, RFC 5869)."""
    info = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in ("normfed secure sum", *purpose))
    return HKDF(SHA256(), 32, salt=None, info=info).derive(material)


def agreed(secret: bytes, other: bytes, *purpose: str) -> bytes:
    """The key that two sites derive, each from its own private key and the other's public one.

    Raises
    ------
    WireError
        If ``other`` is not a public key, or one that gives everybody the same.
    """
    try:
        material = X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError as error:
        raise WireError("a site's public key is not one") from error
    return derived(material, *purpose)


def sealed(key: bytes, content: bytes) -> bytes:
    """Encrypt the one message of a key."""
    return ChaCha20Poly1305(key).encrypt(NONCE, content, None)


def opened(key: bytes, content: bytes) -> bytes:
    """Undo `sealed`.

    Raises
    ------
    WireError
        If it was not made with this key, or was changed on the way.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(NONCE, content, None)
    except InvalidTag as error:
        raise WireError("encrypted shares are not what was encrypted") from error
