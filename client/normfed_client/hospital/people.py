"""A hospital's secret about its people: what stands for a person in its own records, the lot that each draws, and the
noise that hides them.

Who trains, is held out or tests is drawn once per person from this secret: no study, seed or count that a server sends
has any influence, so two studies that differ a little never divide the same people in two ways.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from normfed_common.foundation import private
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import atomic
from normfed_common.foundation.keys import derived_key
from normfed_common.foundation.locks import exclusive


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

    @classmethod
    def made(cls, path: Path) -> PeopleSecret:
        """The secret of a simulated site in a file, which is made for its owner alone if there is none.

        So two simulations of one study have noise of their own, and one that goes on has what it had.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            lock = path.with_suffix(".lock")
            with exclusive(lock):
                if not path.exists():
                    with atomic(path) as temporary:
                        temporary.chmod(0o600)
                        temporary.write_bytes(private.secret())
                lock.unlink(missing_ok=True)
        return cls.read(path)

    def digest(self, person: str) -> str:
        """What stands for a person in the hospital's records: 32 hex digits."""
        return self._mac("person", person).hex()[:32]

    def lot(self, person: str, purpose: str) -> float:
        """The person's lot for a purpose, uniform in [0, 1), always the same."""
        return int.from_bytes(self._mac(purpose, person)[:7], "big") / 2**56

    def noise_key(self, *names: str) -> bytes:
        """A key for noise, 32 bytes; other names, another key, and none is a digest or a lot of a person."""
        return derived_key(self._key, "noise", *names)

    def _mac(self, purpose: str, person: str) -> bytes:
        return hmac.new(self._key, f"{purpose}\0{person}".encode(), hashlib.sha256).digest()
