"""Wheels: fetched by the lock, and what they say of themselves."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from functools import cached_property
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from normfed_common.foundation.errors import UserError
from normfed_deploy.kit.lock import Pin, environment

# glibc 2.28: Debian 10, RHEL 8, Ubuntu 18.10 and newer.
PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1)), "manylinux2014_x86_64")
LICENCE_CLASSIFIER = "License :: "
LONGEST_NAME = 60  # some put a whole licence where its name belongs


@dataclass(frozen=True)
class Wheel:
    """One file, ``NAME-VERSION-...-PLATFORM.whl``."""

    path: Path

    @property
    def name(self) -> str:
        """As the lock spells it."""
        return str(parse_wheel_filename(self.path.name)[0])

    @property
    def version(self) -> str:
        """With its local part, such as ``+cpu``."""
        return str(parse_wheel_filename(self.path.name)[1])

    @cached_property
    def sha256(self) -> str:
        """Of the file, in hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def metadata(self) -> Message:
        """What its maker says."""
        with zipfile.ZipFile(self.path) as archive:
            # Some wheels vendor others, whose folders lie deeper.
            (name,) = [n for n in archive.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA")]
            return message_from_bytes(archive.read(name))

    def needs(self, python: str) -> list[str]:
        """Names of what it depends on, without extras."""
        here = environment(python)
        wanted = [Requirement(text) for text in self.metadata.get_all("Requires-Dist", [])]
        return sorted({canonicalize_name(w.name) for w in wanted if w.marker is None or w.marker.evaluate(here)})

    def licence(self) -> str:
        """By its SPDX expression where the wheel has one, else as its maker calls it; empty if nobody says."""
        said = self.metadata
        if expression := said.get("License-Expression"):
            return str(expression)
        named = [c.split(" :: ")[-1] for c in said.get_all("Classifier", []) if c.startswith(LICENCE_CLASSIFIER)]
        free = " ".join(str(said.get("License", "")).split())
        short = free if 0 < len(free) <= LONGEST_NAME and free.upper() != "UNKNOWN" else ""
        return short or " and ".join(name for name in named if name != "OSI Approved")


def fetch(pins: Sequence[Pin], into: Path, python: str, options: Sequence[str] = ()) -> None:
    """Download a wheel of each, and refuse one whose hash is not the lock's.

    Parameters
    ----------
    options
        More for pip, such as an index.

    Raises
    ------
    UserError
        If pip is missing, or does not find everything.
    """
    wanted = into / "wanted.txt"
    wanted.write_text("\n".join(pin.lines() for pin in pins) + "\n", encoding="utf-8")
    platforms = [part for name in PLATFORMS for part in ("--platform", name)]
    hashes = ["--require-hashes"] if all(pin.hashes for pin in pins) else []
    target = ["--python-version", python, "--implementation", "cp", *platforms, "--only-binary", ":all:", "--no-deps"]
    pip("download", "--dest", str(into), *hashes, *target, *options, "--requirement", str(wanted))
    wanted.unlink()


def build(source: Path, into: Path) -> None:
    """Make normfed's own wheel from a checkout."""
    pip("wheel", "--no-deps", "--wheel-dir", str(into), str(source))


def pip(*arguments: str) -> None:
    """Run pip of this environment.

    Raises
    ------
    UserError
        If it fails; the text is what it says.
    """
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise UserError(f"pip {arguments[0]}: {' '.join(said[-2:])} Is there a network, and pip in this environment?")
