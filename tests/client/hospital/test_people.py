"""A hospital's secret about its people, against another library's HMAC."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from hypothesis import given
from hypothesis import strategies as st

from normfed_client.hospital.people import PeopleSecret
from normfed_common.foundation.errors import UserError


def mac(key: bytes, text: bytes) -> bytes:
    found = hmac.HMAC(key, hashes.SHA256())
    found.update(text)
    return found.finalize()


@given(st.binary(min_size=1, max_size=80), st.text(max_size=20), st.text(max_size=10))
def test_digests_and_lots_are_keyed_hashes_of_person_and_purpose(key: bytes, person: str, purpose: str) -> None:
    secret = PeopleSecret(key)
    assert secret.digest(person) == mac(key, b"person\0" + person.encode()).hex()[:32]
    bits = int(mac(key, f"{purpose}\0{person}".encode()).hex()[:14], 16)
    assert secret.lot(person, purpose) == bits / 2**56


def test_a_secret_is_read_from_its_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "people.secret"
    path.write_bytes(b"\0 key\n")  # any byte may be in a key
    assert PeopleSecret.read(path).digest("sub-01") == PeopleSecret(b"\0 key\n").digest("sub-01")


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, r"cannot be read \(No such file or directory\)"), (b"", "is empty")]
)
def test_without_its_secret_a_hospital_is_told_to_restore_both_files(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "people.secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{sentence}\. Restore it from a backup, with releases\.sqlite"):
        PeopleSecret.read(path)


def test_the_secret_of_a_simulated_site_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "site" / "noise.secret"
    with ThreadPoolExecutor(4) as pool:
        keys = {found.noise_key("x") for found in pool.map(PeopleSecret.made, [path] * 20)}
    assert len(keys) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["noise.secret"]
    assert PeopleSecret.made(tmp_path / "other" / "noise.secret").noise_key("x") not in keys


def test_keys_of_noise_depend_on_every_name_and_on_the_secret_and_are_no_digest_of_a_person() -> None:
    secret = PeopleSecret(b"key")
    keys = [secret.noise_key(*names) for names in ((), ("a",), ("a", "b"), ("ab",), ("b", "a"))]
    keys.append(PeopleSecret(b"other").noise_key("a"))
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}
    assert not any(key.hex().startswith(secret.digest(name)) for key in keys for name in ("a", "b", "ab", ""))
