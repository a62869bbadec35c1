"""What would leave a hospital for a study: what a person there reads and approves, and what the client is held to.

It is worked out before a study runs and kept as a file in the hospital's folder. To read it nothing that computes is
imported, so that the process that relays answers can hold them against it (`normfed_client.answering.departure`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from normfed_client.consent.approvals import Approvals
from normfed_client.hospital.folder import Hospital
from normfed_common.foundation import digests, private
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import inside, write_text
from normfed_common.study.base import Frozen
from normfed_common.study.federation import Compression
from normfed_common.wire.tasks import Task

FOLDER = "manifests"
LARGEST_BYTES = 4 * 2**20  # of one; those of the studies that ship have 10 to 200 kB
MOST_UNDECIDED = 100  # of studies that nobody decided on
OTHERS = "*"  # ends the name of an arm that there is one of for every other site

Counts = Literal["", "all", "first"]


class AtMost(Frozen):
    """The length of an array where people's scans decide it."""

    most: int = Field(ge=0)
    of: str = Field(description="what is counted")


Axis = int | AtMost
Arms = Mapping[str, int | None]


class Row(Frozen):
    """One array that leaves.

    Parameters
    ----------
    what
        In plain words.
    shape
        What it has at every site, or at most.
    about
        Whose scans it is made of: trained on, tested, held out.
    counts
        Which of its numbers are counts that are 0 or at least the minimum of people: all, or the first along the last
        axis; none where that is not what they are.
    """

    array: str
    what: str
    dtype: str
    shape: tuple[Axis, ...]
    about: str
    counts: Counts = ""

    @property
    def bytes(self) -> int:
        """At most."""
        return math.prod(axis if isinstance(axis, int) else axis.most for axis in self.shape) * _bytes_of(self.dtype)


class Leaving(Frozen):
    """One kind of answer.

    Parameters
    ----------
    what
        In plain words: ``training of siamese by fedavg``.
    whose
        Digest of the model's and the strategy's entries that a request names; empty where it may name any.
    arms
        Names of the study's models that are asked about so, with the number of the training that each is; a name that
        ends in ``*`` stands for all that begin so, any training of one per other site.
    part
        The phase of sums or rounds, or how thoroughly a model is tested.
    turns
        First and last round, or iteration; both 0 where there is one.
    compression, masked
        Of the arrays; masked arrays tell nothing but in the sum of several sites.
    header
        What is said beside arrays.
    """

    task: Task
    what: str
    whose: str
    arms: dict[str, int | None]
    part: str = ""
    turns: tuple[int, int] = (0, 0)
    compression: Compression = "none"
    masked: bool = False
    header: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()

    @property
    def bytes(self) -> int:
        """Of the arrays of one answer, at most."""
        return sum(row.bytes for row in self.rows)

    @property
    def times(self) -> int:
        """How many such answers there are at most as the study goes, those of other sites' models apart."""
        return self.often * sum(not arm.endswith(OTHERS) for arm in self.arms)

    @property
    def times_per_other_site(self) -> int:
        """How many there are beside, for each other site that trains a model."""
        return self.often * sum(arm.endswith(OTHERS) for arm in self.arms)

    @property
    def often(self) -> int:
        """How many of each model."""
        return self.turns[1] - self.turns[0] + 1

    def is_of(self, arm: str, repeat: int) -> bool:
        """Whether a request about this training of a model of this name is answered so."""
        if arm in self.arms:
            return self.arms[arm] == repeat
        return any(name.endswith(OTHERS) and arm.startswith(name[: -len(OTHERS)]) for name in self.arms)


class Manifest(Frozen):
    """All that would leave a hospital for a study.

    Parameters
    ----------
    study
        Its name; ``study_digest`` is of all of it.
    site, server
        Who sends, and where to: the one address that is called.
    normfed, plugins
        Versions that it holds for.
    minimum
        Fewest people whom anything that leaves is about.
    protection
        In plain words: noise, masks, what the site does of its own accord.
    notes
        The only sentences that an answer may say of the method.
    stays, remains
        In plain words: what never leaves; what a dishonest server could learn all the same.
    """

    study: str
    study_digest: str
    site: str
    server: str
    normfed: str
    plugins: dict[str, str]
    minimum: int
    rounds: int
    protection: tuple[str, ...]
    notes: tuple[str, ...]
    stays: tuple[str, ...]
    remains: tuple[str, ...]
    leaving: tuple[Leaving, ...]

    @cached_property
    def digest(self) -> str:
        """Identifies it: what a person approves."""
        return digests.of_json(self.model_dump(mode="json"))

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every array of every kind of answer."""
        return tuple(row for leaving in self.leaving for row in leaving.rows)

    @property
    def total_bytes(self) -> int:
        """Of all arrays of all answers at most, those of other sites' models apart."""
        return sum(leaving.bytes * leaving.times for leaving in self.leaving)


def keep(hospital: Hospital, manifest: Manifest) -> Path:
    """Write a manifest where the client finds it when the study runs.

    Of studies that nobody here decided on, such as those that a rule lets in, the latest are kept: a server may ask for
    any number. One that is gone is made again when its study asks.

    Raises
    ------
    UserError
        If it is too large to be kept.
    """
    folder = hospital.folder / FOLDER
    text = manifest.model_dump_json(indent=1)
    if len(text) > LARGEST_BYTES:
        raise UserError(
            f"study {manifest.study_digest}: the list of what would leave has {len(text):,} bytes; at most "
            f"{LARGEST_BYTES:,} are kept. Ask for a study with fewer models."
        )
    private.make_folder(folder)
    path = inside(folder, f"{manifest.study_digest}.json")
    write_text(path, text)
    decided = {decision.study for decision in Approvals(hospital.folder).decisions()}
    others = [one for one in folder.glob("*.json") if one.stem not in decided and one != path]
    for old in sorted(others, key=_written)[: max(0, len(others) + 1 - MOST_UNDECIDED)]:
        old.unlink(missing_ok=True)
    return path


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # another process was faster
        return 0


def kept(hospital: Hospital, study_digest: str) -> Manifest | None:
    """The manifest that was kept of a study; None where there is none.

    Raises
    ------
    UserError
        If it cannot be read, or is of another study.
    """
    path = inside(hospital.folder / FOLDER, f"{study_digest}.json")
    if not path.exists():
        return None
    return _read(path, path.stat().st_mtime_ns)


def _bytes_of(dtype: str) -> int:
    digits = "".join(letter for letter in dtype if letter.isdigit())
    return int(digits) // 8


@lru_cache(maxsize=8)
def _read(path: Path, _mtime_ns: int) -> Manifest:
    try:
        found = Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path}: not a manifest that this version of normfed keeps ({type(error).__name__}). Look at the study "
            "again with `normfed site show`, and decide again."
        ) from error
    if found.study_digest != path.stem:
        raise UserError(f"{path}: is the manifest of another study. Delete it, and decide on the study again.")
    return found
