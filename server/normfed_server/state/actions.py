"""What was done on a server, by whom, and the signature that shows it.

Every command that changes something or takes something out is a record of the server's chain once it ended. The
operator's signature covers the command, its arguments, the time, a number that is used once, and the federation.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

from normfed_common.chain.kinds import Acted, Argument, Command
from normfed_server.state import chain, operators
from normfed_server.state.folder import ServerHome


def make(home: ServerHome, command: str, arguments: Mapping[str, Argument]) -> Command:
    """What is about to be done, to be signed."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    given: dict[str, Argument] = {name: value for name, value in arguments.items() if value is not None}
    return Command(
        federation=home.fingerprint(), command=command, arguments=given, time=time, nonce=secrets.token_hex(16)
    )


def record(
    home: ServerHome,
    action: Command,
    by: operators.Operator | None,
    signature: str,
    outcome: Literal["done", "failed", "proposed"] = "done",
) -> None:
    """Add an action to the server's chain; it is on the disk when this returns."""
    name, key = (by.name, by.fingerprint) if by is not None else ("", "")
    chain.record(home, Acted(action=action, by=name, key=key, signature=signature, outcome=outcome))


def recorded(home: ServerHome) -> Iterator[Acted]:
    """Every action in the chain, the latest last.

    Raises
    ------
    UserError
        If a record is damaged.
    """
    for found in chain.chain_of(home).records():
        if isinstance(found.content, Acted):
            yield found.content


def doubt(home: ServerHome, entry: Acted, everybody: tuple[operators.Operator, ...]) -> str:
    """Why a record cannot be believed; empty where its operator's signature holds, or there was nobody to sign."""
    signers = [one for one in everybody if (one.name, one.fingerprint) == (entry.by, entry.key)]
    began = min((one.added for one in everybody), default="")
    if not entry.by:
        return "nobody signed it, and there were operators" if began and entry.action.time > began else ""
    if not signers:
        return "no such operator"
    if entry.action.federation != home.fingerprint():
        return "it was signed for another federation"
    time = entry.action.time
    if not any(one.added <= time and (one.removed is None or time <= one.removed) for one in signers):
        return "it was signed when the operator was none"
    if not any(operators.is_signed(one.key, entry.action.canonical(), entry.signature) for one in signers):
        return "the signature is wrong"
    return ""
