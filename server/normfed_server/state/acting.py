"""Who does something: allowed by a role, signed, recorded; and where two people must agree, proposed and approved."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from normfed_common.chain.kinds.server import Argument, Command
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_text
from normfed_common.foundation.locks import exclusive
from normfed_common.study.base import Frozen
from normfed_server.state import actions, admission, operators, tokens
from normfed_server.state.encrypted_keys import PrivateKey, is_encrypted, load
from normfed_server.state.folder import ServerHome
from normfed_server.state.operators import Operator, Role

PROPOSED_DAYS = 7
SHORTEST_ID = 8  # hex digits of a proposal that an operator must give

NAME, KEY = "NORMFED_OPERATOR", "NORMFED_OPERATOR_KEY"  # environment variables


@dataclass(frozen=True)
class Signer:
    """An operator with the key in hand."""

    operator: Operator
    key: PrivateKey


class Proposal(Frozen):
    """What one operator asked for and another must approve."""

    action: Command
    by: str
    key: str
    signature: str

    @property
    def id(self) -> str:
        """Of what was signed, so that nobody approves something else: 128 bits."""
        return hashlib.sha256(self.action.canonical()).hexdigest()[:32]

    @property
    def until(self) -> str:
        """UTC; nobody can approve it later. It follows from the time that was signed."""
        return _later(self.action.time).isoformat(timespec="seconds")

    @property
    def holds(self) -> bool:
        """Whether it may be approved now; what is signed for later than now would hold for ever."""
        proposed, now = datetime.fromisoformat(self.action.time), datetime.now(UTC)
        return proposed <= now + actions.SKEW and now < _later(self.action.time)


def _later(time: str) -> datetime:
    return datetime.fromisoformat(time) + timedelta(days=PROPOSED_DAYS)


def _enrol(home: ServerHome, said: Mapping[str, Argument]) -> None:
    people, days = said.get("people"), said.get("days")
    admission.enrol(
        home,
        str(said["site"]),
        bool(said.get("again")),
        people if isinstance(people, int) else None,
        days if isinstance(days, int) else None,
    )


def _remove(home: ServerHome, said: Mapping[str, Argument]) -> None:
    name = str(said["name"])
    operators.remove(home, name)
    for token in tokens.valid(home):
        if token.by == name:
            tokens.revoke(home, token.id)


# What needs a second person where `second_person` of server.yaml says so; operators always, where it says anything:
# whoever could add an operator alone would be two people.
CARRIED_OUT: dict[str, Callable[[ServerHome, Mapping[str, Argument]], object]] = {
    "enrol": _enrol,
    "accept": lambda home, said: admission.accept(home, str(said["site"]), str(said["key"]), str(said["fingerprint"])),
    "people": lambda home, said: admission.bound(home, str(said["site"]), int(str(said["count"]))),
    "revoke": lambda home, said: admission.revoke(home, str(said["site"])),
    "operator add": lambda home, said: operators.add(
        home, str(said["name"]), str(said["key"]), str(said["roles"]).split(",")
    ),
    "operator remove": _remove,
}


def signer(home: ServerHome, name: str | None, key: Path | None, ask: Callable[[Path], bytes]) -> Signer | None:
    """Who acts; None in a federation without operators, where whoever owns the folder does.

    Parameters
    ----------
    ask
        For the passphrase of a key file.

    Raises
    ------
    UserError
        If nobody is named, or the key is another's.
    """
    if not operators.active(home):
        if name or key:
            raise UserError(
                f"{home.folder}: this federation has no operators, so nothing would be signed. Leave out --as and "
                f"--key, also {NAME} and {KEY} of the environment; or name operators: normfed server operator add"
            )
        return None
    if not name or not key:
        raise UserError(
            f"This federation has operators: say who you are, with --as NAME --key FILE, or {NAME} and {KEY} in the "
            "environment."
        )
    operator = operators.known(home, name)
    opened = load(key, ask(key) if is_encrypted(key) else None)
    if operators.fingerprint(operators.public_line(opened)) != operator.fingerprint:
        raise UserError(f"{key}: is not the key of {name}, which is {operator.fingerprint}. Give that one.")
    return Signer(operator, opened)


@contextlib.contextmanager
def acting(
    home: ServerHome, who: Signer | None, role: Role, command: str, arguments: Mapping[str, Argument]
) -> Iterator[None]:
    """Around something that is done: it is allowed, signed, and recorded when it ended, however it did.

    Raises
    ------
    UserError
        If the operator does not have the role; that is not recorded.
    """
    check_role(who, role, command)
    action = actions.make(home, command, arguments)
    signature = operators.sign(who.key, action.canonical()) if who is not None else ""
    outcome: Literal["done", "failed"] = "failed"
    try:
        yield
        outcome = "done"
    finally:
        actions.record(home, action, who.operator if who is not None else None, signature, outcome)


def check_role(who: Signer | None, role: Role, command: str) -> None:
    """Refuse what an operator may not do.

    Raises
    ------
    UserError
        If the role is missing.
    """
    if who is not None and role not in who.operator.roles:
        raise UserError(
            f"{who.operator.name} may not do that: `{command}` needs the role {role}, and the roles of "
            f"{who.operator.name} are {', '.join(who.operator.roles)}. Ask an operator who has it."
        )


def do(home: ServerHome, who: Signer | None, command: str, arguments: Mapping[str, Argument]) -> Proposal | None:
    """Carry out a command that may need two people; where it does, returns what is proposed now.

    Raises
    ------
    UserError
        If it cannot be carried out, or there is nobody else who could approve it.
    """
    if not _needs_two(home, who, command):
        with acting(home, who, "enrol", command, arguments):
            CARRIED_OUT[command](home, arguments)
        return None
    if who is None:
        raise UserError(
            f"server.yaml: second_person asks for two people to {command}, and this federation has no operators. "
            "Add two: normfed server operator add NAME --roles enrol --public NAME.pub"
        )
    check_role(who, "enrol", command)
    others = [one.name for one in operators.active(home).values() if "enrol" in one.roles]
    if len(others) < 2:
        raise UserError(f"server.yaml: second_person asks for two people to {command}, and {others[0]} is alone.")
    action = actions.make(home, command, arguments)
    signature = operators.sign(who.key, action.canonical())
    made = Proposal(action=action, by=who.operator.name, key=who.operator.fingerprint, signature=signature)
    write_text(home.proposals / f"{made.id}.json", made.model_dump_json(indent=1) + "\n")
    actions.record(home, action, who.operator, signature, "proposed")
    return made


def _needs_two(home: ServerHome, who: Signer | None, command: str) -> bool:
    wanted = home.config.second_person
    if not command.startswith("operator "):
        return command in wanted
    # The first operator, and the second, have nobody to agree with.
    return bool(wanted) and sum("enrol" in one.roles for one in operators.active(home).values()) > 1


def pending(home: ServerHome) -> dict[str, Proposal]:
    """What waits for a second person, by its id; what is too old is thrown away.

    Raises
    ------
    UserError
        If a proposal is damaged.
    """
    found = {}
    for path in sorted(home.proposals.glob("*.json")):
        try:
            proposal = Proposal.model_validate_json(path.read_text(encoding="utf-8"))
            holds = proposal.holds
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path}: damaged. Remove it; it has to be proposed again.") from error
        if holds:
            found[proposal.id] = proposal
        else:
            path.unlink(missing_ok=True)
    return found


def proposed(home: ServerHome, which: str) -> Proposal:
    """One of those that wait.

    Parameters
    ----------
    which
        Its id, or a beginning of it that no other has.

    Raises
    ------
    UserError
        If there is none with this id, or more than one.
    """
    found = pending(home)
    meant = [one for one in found if len(which) >= SHORTEST_ID and one.startswith(which)]
    if len(meant) > 1:
        raise UserError(f"{which} may be {' or '.join(meant)}. Give all of the one that you mean.")
    if not meant:
        raise UserError(f"Nothing waits under {which}. Waiting: {', '.join(found) or 'nothing'}. Proposals expire.")
    return found[meant[0]]


def approve(home: ServerHome, who: Signer | None, which: str, shown: Proposal | None = None) -> Proposal:
    """Carry out what another operator proposed.

    Parameters
    ----------
    shown
        What the second person saw: nothing else is carried out under its id.

    Raises
    ------
    UserError
        If it is the operator's own proposal, or its proposer may not do it any more.
    """
    with exclusive(home.folder / "proposals.lock"):  # nobody carries it out twice
        proposal = proposed(home, which)
        if shown is not None and shown != proposal:
            raise UserError(f"{which} is not what it was a moment ago. Look at it again: normfed server pending")
        if who is None:
            raise UserError(f"{which} needs a second operator. Add one: normfed server operator add NAME")
        first = operators.known(home, proposal.by)
        if who.operator.name == first.name or who.operator.fingerprint == proposal.key:
            raise UserError(f"{which} is {first.name}'s own proposal. Another operator must approve it.")
        if (
            first.fingerprint != proposal.key
            or "enrol" not in first.roles
            or proposal.action.federation != home.fingerprint()
            or not operators.is_signed(first.key, proposal.action.canonical(), proposal.signature)
        ):
            raise UserError(f"{which} is not signed by {first.name} as an operator. It has to be proposed again.")
        said: dict[str, Argument] = {"proposal": proposal.id, "of": proposal.by, "carries out": proposal.action.command}
        with acting(home, who, "enrol", "approve", proposal.action.arguments | said):
            CARRIED_OUT[proposal.action.command](home, proposal.action.arguments)
        (home.proposals / f"{proposal.id}.json").unlink(missing_ok=True)
    return proposal
