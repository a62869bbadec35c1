"""What an audit found, written and read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from audits import audited, finding

from normfed_common.foundation.errors import DamagedError
from normfed_server.results import audit


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
