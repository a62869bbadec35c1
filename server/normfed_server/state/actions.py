"""What was done on a server, by whom, and the signature that shows it.

actions.jsonl has a line per command that changes something or takes something out, in the order that they ended. A
signature covers the command, its arguments, the time, a number that is used once, and the federation it was for.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from pydantic import Field, ValidationError

from normfed_common.foundation.errors import UserError
from normfed_common.foundation.locks import exclusive
from normfed_common.study.base import Frozen
from normfed_server.state import operators
from normfed_server.state.folder import ServerHome

Argument = str | int | bool | None | tuple[str, ...]


class Action(Frozen):
    """A command as it is signed."""

    federation: str = Field(max_length=100, description="fingerprint of its certificate authority")
    command: str = Field(max_length=100)
    arguments: dict[str, Argument]
    time: str = Field(max_length=40, description="UTC")
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")

    def canonical(self) -> bytes:
        """The bytes that are signed: JSON with sorted keys and no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()


class Record(Frozen):
    """An action that was done.

    `by` and `key` are empty in a federation without operators: then the account that owns the folder did it.
    """

    action: Action
    by: str
    key: str = Field("", description="fingerprint of the operator's")
    signature: str = ""
    outcome: str = Field("done", description="or `failed`")


def make(home: ServerHome, command: str, arguments: Mapping[str, Argument]) -> Action:
    """What is about to be done, to be signed."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    given: dict[str, Argument] = {name: value for name, value in arguments.items() if value is not None}
    return Action(
        federation=home.fingerprint(), command=command, arguments=given, time=time, nonce=secrets.token_hex(16)
    )


def record(
    home: ServerHome, action: Action, by: operators.Operator | None, signature: str, outcome: str = "done"
) -> None:
    """Add an action to the record; it is on the disk when this returns."""
    name, key = (by.name, by.fingerprint) if by is not None else ("", "")
    line = Record(action=action, by=name, key=key, signature=signature, outcome=outcome).model_dump_json()
    with exclusive(home.actions.with_suffix(".lock")), open(home.actions, "a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def recorded(home: ServerHome) -> Iterator[Record]:
    """Everything in the record, the latest last.

    Raises
    ------
    UserError
        If a line is damaged.
    """
    if not home.actions.exists():
        return
    for number, line in enumerate(home.actions.read_text(encoding="utf-8").splitlines(), 1):
        try:
            yield Record.model_validate_json(line)
        except ValidationError as error:
            raise UserError(f"{home.actions}: line {number} is damaged. Compare it with a backup.") from error


def doubt(home: ServerHome, entry: Record, everybody: tuple[operators.Operator, ...]) -> str:
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
