"""Keys for one purpose each, derived from a secret, so that none is ever used for two things."""

from __future__ import annotations

import hashlib
import hmac


def derived_key(secret: bytes, *names: str | bytes) -> bytes:
    """The key for one purpose, HMAC-SHA256 of the names under the secret; other names, another key.

    Parameters
    ----------
    names
        What the key is for, one after the other. For noise: all that a release depends on, so that the same release has
        the same noise, and every other noise of its own.
    """
    mac = hmac.new(secret, digestmod=hashlib.sha256)
    for name in names:
        text = name.encode() if isinstance(name, str) else name
        mac.update(len(text).to_bytes(8, "big") + text)
    return mac.digest()
