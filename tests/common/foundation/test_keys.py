"""Every purpose has a key of its own."""

from __future__ import annotations

from normfed_common.foundation.keys import derived_key


def test_names_of_a_key_do_not_run_into_each_other() -> None:
    keys = [derived_key(b"secret", *names) for names in (("ab", "c"), ("a", "bc"), ("abc",), ("ab", "c", ""))]
    keys += [derived_key(b"other", "ab", "c")]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}


def test_a_name_may_be_bytes() -> None:
    assert derived_key(b"secret", "name") == derived_key(b"secret", b"name")
