"""Private keys at rest: PKCS #8 under a passphrase, which OpenSSL and others read too.

The passphrase goes through scrypt (RFC 7914, section 7). The cryptography library reads such a file and does not write
one: what it writes itself has 2048 rounds of PBKDF2, where OWASP asks for 600,000.
"""

from __future__ import annotations

import base64
import os
import textwrap
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from normfed_common.foundation.errors import UserError

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

COST, BLOCK, PARALLEL = 2**14, 8, 10  # OpenSSL takes no more memory than these 16 MiB; OWASP asks for 5 of such passes
SHORTEST = 12  # characters of a new passphrase

# Object identifiers, as DER has them: PBES2, scrypt, AES-256 in CBC mode.
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES = bytes.fromhex("060960864801650304012a")


def encrypted(key: PrivateKey, passphrase: bytes) -> bytes:
    """A private key as PEM that nobody reads without the passphrase.

    Raises
    ------
    UserError
        If the passphrase is too short.
    """
    check_passphrase(passphrase)
    content = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    salt, vector = os.urandom(16), os.urandom(16)
    derived = Scrypt(salt=salt, length=32, n=COST, r=BLOCK, p=PARALLEL).derive(passphrase)
    padder = padding.PKCS7(algorithms.AES.block_size).padder()
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(vector)).encryptor()
    sealed = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    parameters = _sequence(_octets(salt), *(_integer(number) for number in (COST, BLOCK, PARALLEL)))
    scheme = _sequence(_sequence(_SCRYPT, parameters), _sequence(_AES, _octets(vector)))
    der = _sequence(_sequence(_PBES2, scheme), _octets(sealed))
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join(
        ["-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, "-----END ENCRYPTED PRIVATE KEY-----", ""]
    ).encode()


def check_passphrase(passphrase: bytes) -> None:
    """Refuse a new passphrase that is soon guessed.

    Raises
    ------
    UserError
        If it is too short.
    """
    if len(passphrase) < SHORTEST:
        raise UserError(f"The passphrase has fewer than {SHORTEST} characters. Take four or five words at random.")


def is_encrypted(path: Path) -> bool:
    """Whether a key file asks for a passphrase; an OpenSSH key does not say, and counts as one that does not.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    return b"ENCRYPTED PRIVATE KEY" in _read(path)


def load(path: Path, passphrase: bytes | None) -> PrivateKey:
    """A private key, PEM or OpenSSH's.

    Parameters
    ----------
    passphrase
        None for a key that is not encrypted.

    Raises
    ------
    UserError
        If it is not one, or the passphrase is wrong.
    """
    content = _read(path)
    ssh = b"OPENSSH PRIVATE KEY" in content
    read = serialization.load_ssh_private_key if ssh else serialization.load_pem_private_key
    try:
        key = read(content, passphrase)
    except UnsupportedAlgorithm as error:  # OpenSSH encrypts by bcrypt, which is another library
        raise UserError(
            f"{path}: is encrypted in OpenSSH's own way, which normfed does not read. Make a key for this purpose: "
            "normfed server operator key NAME"
        ) from error
    except (ValueError, TypeError) as error:
        wrong = (
            "the passphrase is wrong, or the file is damaged" if passphrase else "not a private key that can be read"
        )
        raise UserError(f"{path}: {wrong}. Try again, or restore the file from a backup.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise UserError(f"{path}: is of a kind that is not used here. Take an Ed25519 or elliptic-curve key.")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Give the path of a private key.") from error


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 + len(size)]) + size + content


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, b"".join(parts))


def _octets(content: bytes) -> bytes:
    return _der(0x04, content)


def _integer(number: int) -> bytes:
    return _der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
