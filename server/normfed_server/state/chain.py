"""The server's chain: who invited, accepted, started and stopped what, which answers came in, who was turned away.

What is written and how is `normfed_common.chain`. Its key, `audit.key`, signs nothing else; a folder from before there
was one gets one with its first record.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache, partial
from pathlib import Path

from normfed_common.chain import keys
from normfed_common.chain.files import Chain
from normfed_common.chain.keys import SigningKey
from normfed_common.chain.kinds.content import Content
from normfed_common.chain.records import Record
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import is_full, write_text
from normfed_server.state.folder import ServerHome

FILE = "audit.jsonl"


def chain_of(home: ServerHome) -> Chain:
    """The chain of an operator's folder."""
    return Chain(home.folder / FILE, partial(key_of, home), home.config.name)


def record(home: ServerHome, content: Content) -> Record:
    """Write a record; it is on the disk when this returns.

    Raises
    ------
    UserError
        If it cannot be written: then what it is about must not happen.
    """
    chain = chain_of(home)
    try:
        return chain.append(content)
    except OSError as error:
        why = "the disk is full" if is_full(error) else error.strerror or type(error).__name__
        raise UserError(
            f"{chain.path}: cannot be written ({why}). Nothing is done of which there is no record: free some space, "
            "or restore the rights of the folder."
        ) from error


def key_of(home: ServerHome) -> SigningKey:
    """The key that signs; made where there is none yet, and nothing that one would have signed.

    Raises
    ------
    UserError
        If it is lost, or cannot be used.
    """
    path = home.audit_key
    if not path.exists():
        if (home.folder / FILE).exists():
            raise UserError(f"{path}: missing. Restore it from a backup; without it the chain cannot be gone on with.")
        with contextlib.suppress(FileExistsError):  # another process made it meanwhile
            make_key(home)
    return _key(path, path.stat().st_mtime_ns)


def make_key(home: ServerHome) -> None:
    """A new key, and its public part beside it, for whoever verifies."""
    key = keys.make(home.audit_key)
    write_text(home.audit_key.with_suffix(".pub"), f"{key.line} normfed audit\n")


@lru_cache(maxsize=4)
def _key(path: Path, _mtime_ns: int) -> SigningKey:
    return SigningKey(path)
