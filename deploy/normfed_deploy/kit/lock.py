"""What is installed, by version and hash: the lock for one Python, with CUDA or without."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from normfed_common.foundation.errors import UserError

PYTHONS = ("3.11", "3.12", "3.13")
CUDA = ("cuda-", "nvidia-", "triton")  # what torch brings for CUDA, and nothing else needs


@dataclass(frozen=True)
class Pin:
    """One distribution of the lock.

    Parameters
    ----------
    marker
        Where it is needed; None for everywhere.
    hashes
        SHA-256 of each of its files on PyPI, in hexadecimal.
    """

    name: str
    version: str
    marker: Marker | None
    hashes: frozenset[str]

    def lines(self) -> str:
        """As pip reads it in hash-checking mode."""
        return " \\\n    ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{h}" for h in sorted(self.hashes))])


def read(path: Path) -> list[Pin]:
    """Read a requirements file with hashes.

    Raises
    ------
    UserError
        If a requirement is not pinned to one version, or has no hash.
    """
    whole = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in whole.splitlines() if line.strip() and not line.startswith("#")]
    return [_pin(line, path) for line in lines]


def _pin(line: str, path: Path) -> Pin:
    text, *hashes = line.split("--hash=sha256:")
    try:
        wanted = Requirement(text.strip())
        (only,) = wanted.specifier
        pinned = only.operator == "==" and bool(hashes)
    except (InvalidRequirement, ValueError):
        pinned = False
    if not pinned:
        raise UserError(f"{path}: {text.strip()!r} has no version or no hash. Make the file anew, as its head says.")
    return Pin(canonicalize_name(wanted.name), only.version, wanted.marker, frozenset(h.strip() for h in hashes))


def environment(python: str) -> dict[str, str]:
    """What markers ask of Linux on x86-64 with a version of Python, such as ``3.12``."""
    return {
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_version": python,
        "python_full_version": f"{python}.0",
        "extra": "",
    }


def for_target(pins: Iterable[Pin], python: str, cuda: bool) -> list[Pin]:
    """What a version of Python needs; torch's CUDA libraries only on demand."""
    here = environment(python)
    needed = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(here)]
    return [pin for pin in needed if cuda or not pin.name.startswith(CUDA)]
