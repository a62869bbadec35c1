"""Tokens for the monitor: short-lived, kept as digests, revocable. Whoever has one may read, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pydantic import Field, ValidationError

from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_json
from normfed_common.foundation.locks import exclusive
from normfed_common.study.base import Frozen
from normfed_server.state.folder import ServerHome
from normfed_server.state.operators import Role

SHORT_HOURS = 24.0


class Token(Frozen):
    """What is known of a token; not the token."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256")
    by: str = Field(max_length=64, description="operator who asked for it; empty where there are none")
    until: str = Field(description="UTC")

    @property
    def id(self) -> str:
        """By which it is listed and revoked."""
        return self.digest[:8]


class _Tokens(Frozen):
    tokens: tuple[Token, ...] = ()


def role_to_make(hours: float) -> Role:
    """Whoever only reads makes tokens for a day: a longer one goes on after they are gone."""
    return "read" if hours <= SHORT_HOURS else "enrol"


def role_to_revoke(home: ServerHome, which: str, by: str) -> Role:
    """Whoever only reads revokes their own tokens."""
    return "read" if any(token.id == which and token.by == by for token in valid(home)) else "enrol"


def make(home: ServerHome, by: str, hours: float) -> str:
    """A new token of 256 bits; it is nowhere but in what this returns."""
    token = secrets.token_urlsafe(32)
    until = (datetime.now(UTC) + timedelta(hours=hours)).isoformat(timespec="seconds")
    with _changing(home) as tokens:
        tokens.append(Token(digest=_digest(token), by=by, until=until))
    return token


def revoke(home: ServerHome, which: str) -> None:
    """Make a token worth nothing from now on.

    Raises
    ------
    UserError
        If there is none with this id.
    """
    with _changing(home) as tokens:
        left = [token for token in tokens if token.id != which]
        if len(left) == len(tokens):
            raise UserError(f"No token is {which}. Tokens: {', '.join(token.id for token in tokens) or 'none'}.")
        tokens[:] = left


def valid(home: ServerHome) -> tuple[Token, ...]:
    """Those that have not expired.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    if not home.tokens.exists():
        return ()
    try:
        found = _Tokens.model_validate_json(home.tokens.read_text(encoding="utf-8")).tokens
    except (OSError, ValidationError) as error:
        raise UserError(f"{home.tokens}: damaged. Remove it, and make new tokens.") from error
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return tuple(token for token in found if token.until > now)


def admits(home: ServerHome, token: str) -> bool:
    """Whether a token is valid now; none is while the file is damaged."""
    digest = _digest(token)
    with contextlib.suppress(UserError):
        return any(known.digest == digest for known in valid(home))
    return False


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


@contextlib.contextmanager
def _changing(home: ServerHome) -> Iterator[list[Token]]:
    """All tokens that have not expired, to be changed by one process at a time."""
    with exclusive(home.tokens.with_suffix(".lock")):
        tokens = list(valid(home))
        yield tokens
        write_json(home.tokens, _Tokens(tokens=tuple(tokens)).model_dump(mode="json"))
