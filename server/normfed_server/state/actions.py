"""What was done on a server, by whom, and the signature that shows it.

Every command that changes something or takes something out is a record of the server's chain once it ended. The
operator's signature covers the command, its arguments, the time, a number that is used once, and the federation.

The time of an action is its own word. When it was is by its place in the chain and by the server's clock there, which
verifying the chain holds to go on: an action that says another time, or that stands after its operator was removed, is
not believed, and without a signature none that stands after the first operator was named.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from normfed_common.chain.kinds.server import Acted, Argument, Command
from normfed_common.chain.records import Record
from normfed_server.state import chain, operators
from normfed_server.state.folder import ServerHome

SKEW = timedelta(minutes=1)  # that a clock may have been set back while something was done
LONGEST = timedelta(days=1)  # from when a command was given to when it ended


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
    return (found.content for found in records(home) if isinstance(found.content, Acted))


def records(home: ServerHome) -> Iterator[Record]:
    """The same, each as it stands in the chain."""
    return (found for found in chain.chain_of(home).records() if isinstance(found.content, Acted))


def judged(home: ServerHome) -> Iterator[tuple[Acted, str]]:
    """Every action in the chain, the latest last, and why it cannot be believed; empty where it can.

    Raises
    ------
    UserError
        If a record is damaged.
    """
    everybody, named, gone = operators.everybody(home), False, set[str]()
    for found in records(home):
        entry = found.content
        assert isinstance(entry, Acted)
        yield entry, doubt(home, entry, everybody) or _out_of_place(entry, found.time, named, gone)
        said, done = entry.action, entry.outcome == "done"
        command = str(said.arguments.get("carries out", said.command))
        named = named or (done and command == "operator add")
        if done and command == "operator remove":
            whom, now = said.arguments.get("name"), datetime.fromisoformat(found.time)
            gone |= {
                one.fingerprint
                for one in everybody
                if one.name == whom and one.removed and datetime.fromisoformat(one.added) <= now
            }


def _out_of_place(entry: Acted, recorded: str, named: bool, gone: set[str]) -> str:
    if not entry.by and named:
        return "nobody signed it, and there were operators"
    if entry.key in gone:
        return "it stands after the record that its operator was removed"
    try:
        ahead = datetime.fromisoformat(entry.action.time) - datetime.fromisoformat(recorded)
    except (ValueError, TypeError):
        return "its time is none"
    if not -LONGEST <= ahead <= SKEW:
        return f"it says another time than the server's clock when it was recorded, {recorded}"
    return ""


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
