"""Which versions of normfed work together in one federation, so that hospitals need not upgrade on the same day.

Two versions work together if they have the same protocol and major number and minor numbers at most one apart: 0.1 with
0.2, 0.2 with 0.3, never 0.1 with 0.3. The last number does not matter. What a release may change without a new protocol
is in CONTRIBUTING.md.
"""

from __future__ import annotations

import platform
import re
from functools import cache
from importlib.metadata import version

PROTOCOL = 1  # what messages, the bundle and studies mean; a release that changes any of it takes the next number
PROTOCOL_HEADER = "normfed-protocol"  # of the server's answer whether it is well: protocol, major and minor number
FARTHEST = 1  # minor numbers that two versions may lie apart

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})(?![0-9])")


@cache
def installed_version() -> str:
    """The version of normfed that is installed here, as it was when this process first asked: an installation that
    changes while a process runs does not change the code that is loaded."""
    return version("normfed")


def software() -> dict[str, str]:
    """The versions that figures depend on."""
    return {"normfed": installed_version(), "torch": version("torch"), "flwr": version("flwr")} | {
        "Python": platform.python_version()
    }


def release(version: str) -> tuple[int, int] | None:
    """Major and minor number; None of what is no version."""
    found = _VERSION.match(version)
    return (int(found[1]), int(found[2])) if found else None


def short(version: str) -> str:
    """Major and minor number as text, all that strangers are told; empty of what is no version."""
    found = release(version)
    return f"{found[0]}.{found[1]}" if found else ""


def together(one: str, other: str) -> bool:
    """Whether two versions of the same protocol work together."""
    mine, theirs = release(one), release(other)
    if mine is None or theirs is None:
        return one == other != ""
    return mine[0] == theirs[0] and abs(mine[1] - theirs[1]) <= FARTHEST


def last_server(site: str) -> str:
    """The newest minor release of a server that a site of this version works with; empty of what is no version."""
    found = release(site)
    return f"{found[0]}.{found[1] + FARTHEST}" if found else ""


def apart(site: str, server: str) -> str:
    """Why a site and a server of these versions do not work together, and which of the two to update; empty if they do.

    Reads on after the site's name, or "this site".
    """
    if together(site, server):
        return ""
    mine, theirs = release(site), release(server)
    older = "the older one" if mine is None or theirs is None else "the site" if mine < theirs else "the server"
    return (
        f"has normfed {site or 'of no version'}, the server {server or 'says none'}: versions work together whose "
        f"minor numbers are at most {FARTHEST} apart; update {older}"
    )
