"""What a site's own log is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from normfed_common.foundation.damage import told


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the site's log says."""
    found: list[str] = []
    with told(found.append):
        yield found
