"""What an audit found, written and read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from audits import audited, finding

from normfed_common.foundation.errors import DamagedError
from normfed_server.results import audit
from normfed_server.results.audit import Protection


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert audit.read(tmp_path) is None
    found = audited(finding())
    audit.save(tmp_path, found)
    assert audit.read(tmp_path) == found


@pytest.mark.parametrize("content", ["", "{", '{"version": 1}', "[]"])
def test_what_is_no_audit_is_refused_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / audit.FILE).write_text(content)
    with pytest.raises(DamagedError, match=r"privacy-audit\.json cannot be read .* Audit the run again\."):
        audit.read(tmp_path)


@pytest.mark.parametrize(
    ("protection", "words"),
    [
        (Protection(delta=1e-5, unit="patient", secure_aggregation=False), "no differential privacy"),
        (
            Protection(epsilon=4.0, delta=1e-5, unit="patient", secure_aggregation=True),
            "epsilon 4 per patient, secure aggregation",
        ),
        (
            Protection(delta=1e-5, unit="patient", secure_aggregation=False, central_epsilon=8.0),
            "no differential privacy, epsilon 8 per site",
        ),
    ],
)
def test_a_protection_is_said_in_words(protection: Protection, words: str) -> None:
    assert protection.words == words
