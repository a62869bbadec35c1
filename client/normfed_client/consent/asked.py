"""Studies that a server asked a hospital for: one file each in its folder, for its people to look at and decide on.

A server may be hostile, and ask for a thousand studies: a bounded number of bounded files waits, and what is beyond is
refused without being kept.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from normfed_common.foundation import plain_yaml, private
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import atomic
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig, StudyName
from normfed_common.study.validation import validate

LARGEST_BYTES = 200_000  # of one study, as YAML; those that ship have 3,000
FOLDER, ENDING = "asked", ".yaml"
DIGEST = r"^[0-9a-f]{32}$"


class AskedStudy(Frozen):
    """A study that was asked for.

    Parameters
    ----------
    digest
        Of ``study``, as every request carries it.
    run
        That first asked; empty where a person here gave the file.
    at
        When that was, UTC.
    """

    digest: str = Field(pattern=DIGEST)
    name: StudyName
    run: str = Field("", max_length=200)
    at: str
    study: dict[str, Any]

    def config(self) -> StudyConfig:
        """The study."""
        return validate(StudyConfig, self.study, self.digest)


class AskedStudies:
    """Those kept in a hospital's folder.

    Parameters
    ----------
    home
        The hospital's.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER

    def keep(self, study: StudyConfig, run: str) -> bool:
        """Write a study down, once; returns whether that can be done: it is small enough, and read back the same."""
        if self.has(study.digest):
            return True
        at = datetime.now(UTC).isoformat(timespec="seconds")
        content = study.model_dump(mode="json")
        asked = AskedStudy(digest=study.digest, name=study.name, run=run, at=at, study=content)
        text = plain_yaml.text(asked.model_dump(mode="json"))
        if len(text.encode()) > LARGEST_BYTES:
            return False
        try:
            _parsed(plain_yaml.parse(text, study.name), study.name)
        except UserError:
            return False
        private.make_folder(self.folder)
        with atomic(self._path(study.digest)) as temporary:
            temporary.chmod(0o600)
            temporary.write_text(text, encoding="utf-8")
        return True

    def has(self, digest: str) -> bool:
        """Whether a study is kept."""
        return self._path(digest).exists()

    def digests(self) -> list[str]:
        """Of all studies that are kept."""
        return sorted(path.stem for path in self.folder.glob(f"*{ENDING}") if not path.name.startswith("."))

    def changed(self, digest: str) -> int:
        """When a study's file was written, in ns.

        Raises
        ------
        UserError
            If it is not there.
        """
        try:
            return self._path(digest).stat().st_mtime_ns
        except OSError as error:
            raise UserError(f"{digest}: no such study was asked for here, or it was deleted.") from error

    def all(self) -> list[AskedStudy]:
        """All that can be read, the first first; a file that is damaged is as if it had not been asked for."""
        found = []
        for digest in self.digests():
            try:
                found.append(self.read(digest))
            except UserError:
                continue
        return sorted(found, key=lambda asked: (asked.at, asked.digest))

    def read(self, digest: str) -> AskedStudy:
        """One of them.

        Raises
        ------
        UserError
            If it is damaged.
        """
        path = self._path(digest)
        found = _parsed(plain_yaml.read(path, "a study that was asked for", LARGEST_BYTES), str(path))
        if found.digest != digest:
            raise UserError(f"{path}: is not the study that its name says. Delete it.")
        return found

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}{ENDING}"


def _parsed(raw: dict[str, Any], origin: str) -> AskedStudy:
    """What a file holds, if it is the study whose digest and name it gives."""
    found = validate(AskedStudy, raw, origin)
    study = found.config()
    if (study.digest, study.name) != (found.digest, found.name):
        raise UserError(f"{origin}: holds another study than was asked for. Delete it.")
    return found
