"""The thin Flower app bundle: names of the two apps and no code. Both sides make it from the protocol that they speak.

Flower sends an app's bundle from the server to the sites, which would run whatever is in it. Ours holds two text
files: what runs at a site is the distribution that the site installed. Server and sites compute the same bytes, so a
site knows the bundle's hash before any server sends one. All versions of a protocol have the same bundle: the hash that
hospitals list stays over an upgrade.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from normfed_common.foundation.versions import PROTOCOL

RUN_KEY = "run"  # of the bundle's configuration: the name of the run, set by the server for each
README = b"# normfed\n\nThis bundle carries no code: server and sites run the normfed that they installed.\n"

_PYPROJECT = """\
[project]
name = "normfed"
version = "{protocol}.0.0"
description = "Federated normative models of the brain."
license = "Apache-2.0"

[tool.flwr.app]
publisher = "normfed"
fab-include = ["/README.md"]

[tool.flwr.app.components]
serverapp = "normfed_server.app:app"
clientapp = "normfed_client.answering.app:app"

[tool.flwr.app.config]
run = ""
"""


@lru_cache(maxsize=1)
def content() -> bytes:
    """The bundle of this protocol; the same bytes on every machine and in every version that speaks it."""
    from normfed_common.flower import build_fab

    pyproject = _PYPROJECT.format(protocol=PROTOCOL).encode()
    return build_fab({"pyproject.toml": pyproject, "README.md": README})


def digest() -> str:
    """SHA-256 of `content`, as Flower names bundles."""
    return hashlib.sha256(content()).hexdigest()
