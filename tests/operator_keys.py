"""Operators and what they type, for tests: their keys are not encrypted, since every passphrase costs a second."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from typer.testing import CliRunner, Result

from normfed_common.foundation.errors import NormfedError
from normfed_server.console import cli
from normfed_server.state import acting, operators
from normfed_server.state.folder import ServerHome


def server(*arguments: object) -> Result:
    """`normfed server ...`, without looking for all other commands first."""
    result = CliRunner().invoke(cli.server, [str(a) for a in arguments])
    if isinstance(result.exception, NormfedError):
        raise result.exception
    return result


def key_of(name: str, tmp_path: Path) -> Path:
    """An operator's key file, made the first time, with NAME.pub beside it."""
    path = tmp_path / f"{name}.key"
    if not path.exists():
        key = ed25519.Ed25519PrivateKey.generate()
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(key.private_bytes(*form))
        path.with_suffix(".pub").write_text(operators.public_line(key) + "\n")
    return path


def signer(home: ServerHome, name: str, tmp_path: Path) -> acting.Signer | None:
    return acting.signer(home, name, key_of(name, tmp_path), lambda _: b"")


def add(home: ServerHome, name: str, tmp_path: Path, *roles: str) -> None:
    """Name an operator, whatever the federation asks for."""
    key_of(name, tmp_path)
    operators.add(home, name, operators.read_public(tmp_path / f"{name}.pub"), roles or operators.ROLES)
