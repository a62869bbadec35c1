"""Named operators: who may do what, by a public key of their own. One that is removed stays, to verify what it signed.

Who owns the server's folder can edit everything in it. What such a person cannot do is sign as somebody else: the
record of what was done names operators by their signatures.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import Field, TypeAdapter, ValidationError

from normfed_common.deployment.enrolment import grouped
from normfed_common.foundation import private
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_json
from normfed_common.foundation.locks import exclusive
from normfed_common.study.base import Frozen
from normfed_server.state.encrypted_keys import PrivateKey, encrypted
from normfed_server.state.folder import ServerHome

Role = Literal["enrol", "run", "read"]
ROLES: tuple[Role, ...] = get_args(Role)
OperatorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class Operator(Frozen):
    """A person with a key."""

    name: OperatorName
    key: str = Field(max_length=2000, description="public, in OpenSSH's format")
    fingerprint: str = Field(max_length=100)
    roles: tuple[Role, ...] = Field(min_length=1)
    added: str
    removed: str | None = None


class _Operators(Frozen):
    operators: tuple[Operator, ...] = ()


def everybody(home: ServerHome) -> tuple[Operator, ...]:
    """All that there are and ever were.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    if not home.operators.exists():
        return ()
    try:
        return _Operators.model_validate_json(home.operators.read_text(encoding="utf-8")).operators
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{home.operators}: damaged ({text}). Restore it from a backup.") from error


def active(home: ServerHome) -> dict[str, Operator]:
    """Those who may act now, by name."""
    return {one.name: one for one in everybody(home) if one.removed is None}


def known(home: ServerHome, name: str) -> Operator:
    """One of those who may act.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    found = active(home)
    if name not in found:
        raise UserError(f"No operator is called {name}. Operators: {', '.join(found) or 'none'}.")
    return found[name]


def add(home: ServerHome, name: str, key: str, roles: Sequence[str]) -> Operator:
    """Name an operator.

    Raises
    ------
    UserError
        If the name or the key is or was somebody's, a role is unknown, or the first one cannot add others.
    """
    try:
        TypeAdapter(OperatorName).validate_python(name)
    except ValidationError as error:
        raise UserError(f"{name!r} cannot be an operator's name: letters, digits, dot, hyphen, underscore.") from error
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise UserError(f"{', '.join(unknown) or 'nothing'}: not a role. Roles: {', '.join(ROLES)}.")
    print_of_key = fingerprint(key)
    with _changing(home) as operators:
        if not any(one.removed is None for one in operators) and "enrol" not in roles:
            raise UserError("The first operator needs the role enrol, or nobody could ever add a second.")
        for one in operators:
            if one.removed is None and one.name == name:
                raise UserError(f"{name} is an operator already. For another key, remove {name} first.")
            if one.fingerprint == print_of_key:
                raise UserError(f"This key is or was that of {one.name}. Two people never share a key; make another.")
        held = tuple(role for role in ROLES if role in roles)
        operators.append(Operator(name=name, key=key, fingerprint=print_of_key, roles=held, added=_now()))
        return operators[-1]


def remove(home: ServerHome, name: str) -> None:
    """Let an operator do nothing more.

    Raises
    ------
    UserError
        If there is none of this name, or it is the last who may add others.
    """
    known(home, name)
    with _changing(home) as operators:
        left = [one for one in operators if one.removed is None and one.name != name and "enrol" in one.roles]
        if not left:
            raise UserError(f"{name} is the last operator with the role enrol. Add another one first.")
        place = next(i for i, one in enumerate(operators) if one.removed is None and one.name == name)
        operators[place] = operators[place].model_copy(update={"removed": _now()})


def make_key(folder: Path, name: str, passphrase: bytes) -> tuple[Path, Path]:
    """Make an operator's key, encrypted; returns the paths of its private and its public part.

    Raises
    ------
    UserError
        If there is one already, or the passphrase is too short.
    """
    key, paths = ed25519.Ed25519PrivateKey.generate(), (folder / f"{name}.key", folder / f"{name}.pub")
    for path in paths:
        if path.exists():
            raise UserError(f"{path}: is there already. Keys are never overwritten; choose another folder with --out.")
    content = encrypted(key, passphrase)
    folder.mkdir(parents=True, exist_ok=True)
    private.write_new(paths[0], content)
    paths[1].write_text(public_line(key) + "\n", encoding="ascii")
    return paths


def read_public(path: Path) -> str:
    """The line of a public key file.

    Raises
    ------
    UserError
        If it is not one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Give the path of NAME.pub.") from error
    if b"PRIVATE KEY" in content:
        raise UserError(f"{path}: is a PRIVATE key, which stays with its operator. Give NAME.pub.")
    try:
        line = " ".join(content.decode("ascii").split()[:2])
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a public key. Give NAME.pub.") from error
    fingerprint(line)
    return line


def public_line(key: PrivateKey) -> str:
    """The public part of a key, in OpenSSH's format."""
    form = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return key.public_key().public_bytes(*form).decode("ascii")


def fingerprint(line: str) -> str:
    """SHA-256 of a public key, in groups that can be read aloud.

    Raises
    ------
    UserError
        If it is not a key that operators may have.
    """
    _public(line)
    return grouped(hashlib.sha256(base64.b64decode(line.split()[1])).hexdigest())


def sign(key: PrivateKey, content: bytes) -> str:
    """A signature in hex: Ed25519, or ECDSA with SHA-384."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(content).hex()
    return key.sign(content, ec.ECDSA(hashes.SHA384())).hex()


def is_signed(line: str, content: bytes, signature: str) -> bool:
    """Whether the owner of a public key signed a content."""
    key = _public(line)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(bytes.fromhex(signature), content)
        else:
            key.verify(bytes.fromhex(signature), content, ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _public(line: str) -> PublicKey:
    try:
        key = serialization.load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError("This is not a public key in OpenSSH's format. Give the file NAME.pub.") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise UserError("Operators have Ed25519 or elliptic-curve keys: normfed server operator key NAME")
    return key


@contextlib.contextmanager
def _changing(home: ServerHome) -> Iterator[list[Operator]]:
    """All operators, to be changed by one process at a time; written when the context ends without an error."""
    with exclusive(home.operators.with_suffix(".lock")):
        operators = list(everybody(home))
        yield operators
        write_json(home.operators, _Operators(operators=tuple(operators)).model_dump(mode="json"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
