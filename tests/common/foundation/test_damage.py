"""A file that is damaged is set apart, and whoever asked for it is told."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from normfed_common.foundation.damage import put_aside, told


def test_what_is_damaged_is_told_to_the_log_of_the_request_that_found_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests are answered in parallel threads; beyond them the process's own log is told."""
    logs: dict[str, list[str]] = {"a": [], "b": []}
    together = threading.Barrier(2)

    def answer(site: str) -> None:
        with told(logs[site].append):
            (tmp_path / site).write_text("damaged")
            together.wait(120)
            put_aside(tmp_path / site, "for a test", "nothing is done")

    threads = [threading.Thread(target=answer, args=(site,)) for site in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert {site: [line.split(":")[0] for line in lines] for site, lines in logs.items()} == {
        "a": [str(tmp_path / "a")],
        "b": [str(tmp_path / "b")],
    }
    (tmp_path / "c").write_text("damaged")
    with caplog.at_level(logging.WARNING):
        put_aside(tmp_path / "c", "for a test", "nothing is done")
    assert caplog.messages[0].startswith(f"{tmp_path / 'c'}: damaged (for a test). It is kept as c.damaged-")
