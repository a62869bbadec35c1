"""A stream under a passphrase: AES-256-GCM in chunks, so that no more than one of them is in memory.

Chunks are numbered, and the last one is marked, in their nonces: one that is changed, moved, repeated, left out or
missing at the end is noticed. Source: STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015); the key is scrypt's.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from normfed_common.foundation.errors import UserError
from normfed_server.state.encrypted_keys import check_passphrase

MAGIC = b"normfed sealed 1\n"
CHUNK, TAG = 2**20, 16  # bytes
SALT, PREFIX = 16, 7
COST, BLOCK, PARALLEL = 2**17, 8, 1  # OWASP's first choice: 128 MiB, half a second


class Sealer:
    """Write plain bytes, and they are sealed on their way; nothing is whole before `close`.

    Raises
    ------
    UserError
        If the passphrase is too short.
    """

    def __init__(self, file: BinaryIO, passphrase: bytes) -> None:
        check_passphrase(passphrase)
        self._file, self._header = file, MAGIC + os.urandom(SALT + PREFIX)
        self._cipher, self._buffer, self._number = _cipher(self._header, passphrase), bytearray(), 0
        file.write(self._header)

    def write(self, data: bytes) -> int:
        """Take more in."""
        self._buffer += data
        while len(self._buffer) > CHUNK:  # the last chunk is never empty but of an empty stream
            self._seal(bytes(self._buffer[:CHUNK]), last=False)
            del self._buffer[:CHUNK]
        return len(data)

    def close(self) -> None:
        """Write the last chunk."""
        self._seal(bytes(self._buffer), last=True)

    def _seal(self, chunk: bytes, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._header, self._number, last), chunk, self._header))
        self._number += 1


class Opener:
    """Read what was sealed, chunk by chunk, each checked before a byte of it is given out.

    Raises
    ------
    UserError
        Here and in `read`: if the passphrase is wrong, or anything was changed or is missing.
    """

    def __init__(self, file: BinaryIO, passphrase: bytes, name: str) -> None:
        self._file, self._header, self._name = file, file.read(len(MAGIC) + SALT + PREFIX), name
        self._cipher, self._buffer, self._number, self._ended = _cipher(self._header, passphrase), b"", 0, False
        self._next = file.read(CHUNK + TAG)

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        pieces = []
        while size > 0 and (self._buffer or self._open()):
            piece, self._buffer = self._buffer[:size], self._buffer[size:]
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _open(self) -> bool:
        """Open the next chunk; whether it held anything."""
        if self._ended:
            return False
        chunk, self._next = self._next, self._file.read(CHUNK + TAG)
        self._ended = not self._next
        try:
            self._buffer = self._cipher.decrypt(_nonce(self._header, self._number, self._ended), chunk, self._header)
        except InvalidTag as error:
            raise UserError(f"{self._name}: the passphrase is wrong, or the file is damaged or was changed.") from error
        self._number += 1
        return bool(self._buffer)


def _cipher(header: bytes, passphrase: bytes) -> AESGCM:
    salt = header[len(MAGIC) : len(MAGIC) + SALT]
    return AESGCM(Scrypt(salt=salt, length=32, n=COST, r=BLOCK, p=PARALLEL).derive(passphrase))


def _nonce(header: bytes, number: int, last: bool) -> bytes:
    return header[-PREFIX:] + number.to_bytes(4, "big") + bytes([last])
