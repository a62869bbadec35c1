"""What a hospital's folder needs beside site.yaml, where a test made none by joining: a key and an authority."""

from __future__ import annotations

from pathlib import Path

from normfed_common.chain import keys
from normfed_server.state import certificates


def furnish(folder: Path) -> None:
    """Give a folder `site.key` and `ca.crt`, so that its audit can be written."""
    keys.make(folder / "site.key")
    certificates.make_authority("Test", folder / "ca.key", folder / "ca.crt")
