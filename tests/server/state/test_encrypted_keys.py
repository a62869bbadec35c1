"""Keys at rest: read again by the cryptography library and by OpenSSL, and by nobody without the passphrase."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from normfed_common.foundation.errors import UserError
from normfed_server.state.encrypted_keys import PrivateKey, encrypted, is_encrypted, load

PASSPHRASE = b"four words at random"


@pytest.mark.parametrize("kind", [ed25519.Ed25519PrivateKey.generate, lambda: ec.generate_private_key(ec.SECP384R1())])
def test_a_key_is_read_again_with_its_passphrase_alone(tmp_path: Path, kind: type[PrivateKey]) -> None:
    key, path = kind(), tmp_path / "k"
    path.write_bytes(encrypted(key, PASSPHRASE))
    assert is_encrypted(path)
    assert load(path, PASSPHRASE).public_key() == key.public_key()
    for wrong in (b"four words at Random", None):
        with pytest.raises(UserError, match=r"k: (the passphrase is wrong|not a private key)"):
            load(path, wrong)
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no OpenSSL on this machine to read it too")
    command = [openssl, "pkey", "-in", str(path), "-passin", f"pass:{PASSPHRASE.decode()}", "-pubout"]
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert subprocess.run(command, capture_output=True, check=True).stdout == key.public_key().public_bytes(*form)


def test_a_passphrase_that_is_soon_guessed_is_refused() -> None:
    with pytest.raises(UserError, match="fewer than 12 characters"):
        encrypted(ed25519.Ed25519PrivateKey.generate(), b"hunter2")


def test_a_key_of_openssh_is_taken_and_one_of_another_kind_is_not(tmp_path: Path) -> None:
    path, plain = tmp_path / "k", serialization.NoEncryption()
    mine = ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(mine.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, plain))
    assert load(path, None).public_key() == mine.public_key()
    other = rsa.generate_private_key(65537, 2048)
    path.write_bytes(other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    with pytest.raises(UserError, match="of a kind that is not used here"):
        load(path, None)
