"""What the cache holds, how large it is and when it was last used; and taking away what nobody needs any more.

    scans/        prepared visits, and what was worked out of single scans: made again from the scans
    templates/    the template at a study's voxel size: made again in a second
    datasets/     synthetic people, and public datasets seen as BIDS, by links: made again when a study asks for them
    splits/       the same people divided among other sites, by links
    look-alikes/  made-up data of recipes

Whoever uses a folder of entries holds a lock of it, shared, as long as the process lives; what is taken away is so
under the same lock, alone: nothing goes that a run uses.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from normfed_client.imaging.cache import SIZES
from normfed_client.imaging.cache_kinds import KINDS
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.locks import alone

ENTRIES = ("scans", "templates")  # folders of `Cache`
ENTRY = re.compile(r"[0-9a-f]{32}")
LEFT = re.compile(r"\.building-.*|\.gone-.*|.*\.damaged-.*")  # behind by processes that died, or by a damaged disk
SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Kept:
    """Something in the cache.

    Parameters
    ----------
    kind
        The folder of the cache that it lies in.
    used
        When it was last used, in seconds since 1970.
    """

    path: Path
    kind: str
    size_bytes: int
    used: float

    @property
    def unused_days(self) -> float:
        """Since it was last used."""
        return max(time.time() - self.used, 0) / SECONDS_PER_DAY


def contents(root: Path) -> list[Kept]:
    """Everything in the cache, the longest unused first; what is a link is not, since it leads to something else."""
    found: list[Kept] = []
    for kind in KINDS:  # and of nothing else: somebody may keep other things there
        folder = root / kind
        if _is_folder(folder):
            things = [path for path in folder.iterdir() if _counts(path)] if kind in ENTRIES else _things(folder)
            found += [_kept(path, kind) for path in things]
    return sorted(found, key=lambda kept: (kept.used, kept.path))


def to_prune(
    kept: Sequence[Kept], kinds: Iterable[str], older_than_days: float | None, larger_than_bytes: float | None
) -> list[Kept]:
    """What goes, the longest unused first.

    Parameters
    ----------
    kept
        In this order.
    kinds
        Only of these; of all when empty.
    older_than_days
        Whatever was not used for so long.
    larger_than_bytes
        And as much more as is needed for the rest of these kinds to be no larger than this.
    """
    asked = set(kinds)
    candidates = [one for one in kept if not asked or one.kind in asked]
    if older_than_days is None and larger_than_bytes is None:
        return candidates
    gone = [one for one in candidates if older_than_days is not None and one.unused_days >= older_than_days]
    rest = [one for one in candidates if one not in gone]
    total = sum(one.size_bytes for one in rest)
    for one in rest if larger_than_bytes is not None else ():
        if larger_than_bytes is not None and total > larger_than_bytes:
            gone.append(one)
            total -= one.size_bytes
    return gone


def prune(root: Path, chosen: Collection[Kept]) -> int:
    """Take things away; returns how many bytes are free again.

    Runs and commands that prepare or read scans are waited for by whoever prunes; a dataset that Python only looks at,
    such as that of `normfed.example_data`, may go.

    Raises
    ------
    UserError
        If a process uses the cache; then nothing is taken away.
    """
    freed = 0
    with _alone(root):
        for kept in chosen:
            shutil.rmtree(kept.path, ignore_errors=True)
            freed += 0 if kept.path.exists() else kept.size_bytes
        for folder in {kept.path.parent for kept in chosen} - {root / kind for kind in KINDS}:
            with contextlib.suppress(OSError):  # it holds something still
                folder.rmdir()
    return freed


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Within, no other process uses the cache, and none begins to."""
    with contextlib.ExitStack() as held:
        for name in ENTRIES:
            if not (root / name).is_dir():
                continue
            try:
                held.enter_context(alone(root / name))
            except OSError as error:
                raise UserError(
                    f"{root}: a run or another command uses this cache just now. Wait until it has ended, and give the "
                    "command again."
                ) from error
        yield


def _counts(path: Path) -> bool:
    return _is_folder(path) and (ENTRY.fullmatch(path.name) is not None or LEFT.fullmatch(path.name) is not None)


def _things(folder: Path) -> list[Path]:
    """Datasets below a folder: what lies two levels down, or is no folder of folders."""
    found: list[Path] = []
    for path in sorted(filter(_is_folder, folder.iterdir())):
        inner = list(filter(_is_folder, path.iterdir()))
        whole = any(one.is_file() for one in path.iterdir())
        found += [path] if whole or not inner else inner
    return found


def _is_folder(path: Path) -> bool:
    """Whether it is one itself, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def _kept(path: Path, kind: str) -> Kept:
    return Kept(path, kind, _size(path), _used(path))


def _used(path: Path) -> float:
    times = path / SIZES if (path / SIZES).exists() else path
    return times.stat().st_mtime


def _size(path: Path) -> int:
    """Bytes on the disk of what lies below; links count as themselves."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
