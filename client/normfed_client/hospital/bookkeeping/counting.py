"""A hospital's signature under how long its ledger is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from normfed_common.chain.keys import SigningKey, VerifyingKey
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
        self._site, self._key = site, SigningKey(path)

    @property
    def line(self) -> str:
        """The public key."""
        return self._key.line

    def signed(self, entries: int, head: str) -> Counter:
        """The counter of a ledger that is so long and ends so."""
        signature = self._key.sign(_statement(self._site, entries, head))
        return Counter(entries=entries, head=head, signature=signature)

    def made(self, counter: Counter, lines: Iterable[str]) -> bool:
        """Whether this hospital signed a counter, with this key or an earlier one of ``lines``."""
        statement = _statement(self._site, counter.entries, counter.head)
        return any(_verifies(line, counter.signature, statement) for line in (self.line, *lines))


def _statement(site: str, entries: int, head: str) -> bytes:
    return f"{PURPOSE}\n{site}\n{entries}\n{head}".encode()


def _verifies(line: str, signature: str, statement: bytes) -> bool:
    try:
        return VerifyingKey(line).made(statement, signature)
    except UserError:
        return False
