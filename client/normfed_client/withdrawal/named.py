"""Where a hospital's folder names one person: in names of files, in tables of people, in lines of logs."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from normfed_client.hospital.folder import Hospital
from normfed_client.quality.kept import DECISIONS, LOOK, KeptLook, Records
from normfed_client.withdrawal.erasing import OF_RUN, files_below
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import atomic

SOMEBODY = "sub-withdrawn"  # in the place of the name, in lines that stay
PACKED = frozenset({".npy", ".gz", ".nii", ".sqlite", ".safetensors"})  # hold no name, or none that can be read so
LARGEST_BYTES = 64 * 2**20  # of a file in which names are looked for; a log has a tenth


class Named:
    """One person's name, where it stands by itself: sub-01 is in sub-01_ses-2 and not in sub-012."""

    def __init__(self, subject: str) -> None:
        self._text = re.compile(rf"(?<![A-Za-z0-9]){re.escape(subject)}(?![A-Za-z0-9])")

    def is_in(self, text: str) -> bool:
        """Whether a text names the person."""
        return self._text.search(text) is not None

    def without(self, text: str) -> str:
        """The text with somebody in the place of the person."""
        return self._text.sub(SOMEBODY, text)

    def in_path(self, path: Path, below: Path) -> bool:
        """Whether a file, or a folder of it, is named after the person."""
        return self.is_in(str(path.relative_to(below)))

    def in_file(self, path: Path) -> bool:
        """Whether a file that is text names the person; of others nothing can be told."""
        if path.suffix in PACKED or path.is_symlink() or path.stat().st_size > LARGEST_BYTES:
            return False
        return self.is_in(_read(path))


def own_files(hospital: Hospital, named: Named) -> list[Path]:
    """Files that are the person's alone, by their names: maps and scores."""
    # A run has the name that a server gave it: who calls one sub-014 has none of its accounts erased.
    folders = [run for top in OF_RUN for run in (hospital.folder / top).glob("*")]
    folders += [hospital.temporary, hospital.quality]
    return [path for folder in folders for path in files_below(folder) if named.in_path(path, folder)]


def naming(hospital: Hospital, named: Named) -> list[Path]:
    """Files of the client's that are about many and name the person: figures of people, looks, logs."""
    state = hospital.state
    there = files_below(*state.glob("*/people"), *state.glob("*/*.log"), hospital.log, hospital.quality)
    return [path for path in there if not named.in_path(path, hospital.folder) and named.in_file(path)]


def rewrite(hospital: Hospital, path: Path, named: Named) -> None:
    """Take the person out of a file of `naming`: whole entries of tables, the name out of lines."""
    if path == hospital.quality / LOOK:
        _rewrite_look(hospital, named)
    elif path == hospital.quality / DECISIONS:
        lines = [line for line in _read(path).splitlines(keepends=True) if not _is_of(line, named)]
        _replace(path, named.without("".join(lines)))
    elif path.parent.name == "people":
        _replace(path, _without_entry(_read(path), named))
    else:
        _replace(path, named.without(_read(path)))


def still_naming(hospital: Hospital, named: Named) -> Iterator[Path]:
    """Files of the hospital's folder that name the person all the same, as far as that can be read."""
    for folder, _, names in os.walk(hospital.folder):
        for path in (Path(folder) / name for name in sorted(names)):
            if named.in_path(path, hospital.folder) or named.in_file(path):
                yield path


def _rewrite_look(hospital: Hospital, named: Named) -> None:
    """Without the person and the doubts about them; a look that is damaged goes, and somebody looks again."""
    records = Records(hospital.quality)
    try:
        look = records.latest()
    except UserError:
        (hospital.quality / LOOK).unlink(missing_ok=True)
        return
    if look is not None:
        people = {name: seen for name, seen in look.people.items() if not named.is_in(name)}
        doubts = [d.model_dump() for d in look.doubts if not named.is_in(f"{d.subject} {d.visit}")]
        kept = [doubt | {"text": named.without(doubt["text"])} for doubt in doubts]
        raw = look.model_dump(mode="json", exclude={"people", "doubts", "digest"})
        raw |= {"people": {name: seen.model_dump() for name, seen in people.items()}, "doubts": kept}
        records.keep(KeptLook.model_validate_json(json.dumps(raw)))


def _without_entry(text: str, named: Named) -> str:
    """A table of people's figures (a list with a name each) without the person; a damaged one is emptied."""
    try:
        rows: Sequence[dict[str, Any]] = json.loads(text)
        kept = [row for row in rows if not named.is_in(str(row["name"]))]
    except (ValueError, TypeError, KeyError):
        kept = []
    return json.dumps(kept, indent=1) + "\n"


def _is_of(line: str, named: Named) -> bool:
    try:
        return named.is_in(str(json.loads(line)["subject"]))
    except (ValueError, TypeError, KeyError):
        return named.is_in(line)


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _replace(path: Path, text: str) -> None:
    """Another text in the same file, as old as it was; an empty one is no file."""
    before = path.stat()
    if not text:
        path.unlink()
        return
    with atomic(path) as temporary:
        temporary.chmod(stat.S_IMODE(before.st_mode))
        temporary.write_bytes(text.encode("utf-8", "surrogateescape"))
        os.utime(temporary, ns=(before.st_atime_ns, before.st_mtime_ns))
