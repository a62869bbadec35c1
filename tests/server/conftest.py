"""An operator's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_server.state.folder import ServerConfig, ServerHome, create


@pytest.fixture
def home(tmp_path: Path) -> ServerHome:
    return create(tmp_path / "server", ServerConfig(name="F", address="fed.example.org:8000"))
