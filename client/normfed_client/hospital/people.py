"""A hospital's secret about its people: what stands for a person in its own records, and the lot that each draws.

Who trains, is held out or tests is drawn once per person from this secret: no study, seed or count that a server sends
has any influence, so two studies that differ a little never divide the same people in two ways.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from normfed_common.foundation.errors import UserError


class PeopleSecret:
    """Keyed digests (HMAC-SHA256) of people's names; without the key nobody can try names against them.

    Parameters
    ----------
    key
        The hospital's own, of 256 bits; lost, the hospital's records of what it released cannot be read any more.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> PeopleSecret:
        """The secret in a file.

        Raises
        ------
        UserError
            If there is none, or it is empty.
        """
        try:
            key = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}). Restore it from a backup, with releases.sqlite."
            ) from error
        if not key:
            raise UserError(f"{path}: is empty. Restore it from a backup, with releases.sqlite.")
        return cls(key)

    def digest(self, person: str) -> str:
        """What stands for a person in the hospital's records: 32 hex digits."""
        return self._mac("person", person).hex()[:32]

    def lot(self, person: str, purpose: str) -> float:
        """The person's lot for a purpose, uniform in [0, 1), always the same."""
        return int.from_bytes(self._mac(purpose, person)[:7], "big") / 2**56

    def for_noise(self) -> bytes:
        """What the noise of releases is drawn from: 32 bytes, which say nothing of the secret."""
        return self._mac("noise", "")

    def _mac(self, purpose: str, person: str) -> bytes:
        return hmac.new(self._key, f"{purpose}\0{person}".encode(), hashlib.sha256).digest()
