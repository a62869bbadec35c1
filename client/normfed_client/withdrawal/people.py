"""A person withdraws: nothing of them is read from then on, and what is kept of them alone is erased.

First it is written down that somebody withdrew, then who, then all is erased. Whoever is killed in between begins
again, and ends where it would have ended. Nothing that protects people becomes less: the sets that something was
released of stay as keyed digests, and so does what was spent of everybody's privacy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from normfed_client.hospital.blocks import Member, releasable
from normfed_client.hospital.custody import MEMBERS, Members
from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.hospital.people import PeopleSecret
from normfed_client.recording.audit import Audit
from normfed_client.withdrawal.erasing import Erased, erase, files_below
from normfed_client.withdrawal.named import Named, naming, own_files, rewrite, still_naming
from normfed_client.withdrawal.prepared import unneeded
from normfed_common.chain.kinds.people import people_class
from normfed_common.chain.kinds.site import PersonWithdrew
from normfed_common.deployment import settings
from normfed_common.foundation import digests
from normfed_common.foundation.errors import UserError
from normfed_common.study.roles import ROLES, Role

SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
WITHDREW = b'"kind":"person-withdrew"'


@dataclass(frozen=True)
class PastRun:
    """A run that somebody took part in.

    Parameters
    ----------
    study
        Its digest; empty where nothing but the record of releases knows of the run.
    roles
        Of the person; empty where that is not known any more.
    """

    name: str
    study: str
    roles: tuple[Role, ...]


@dataclass(frozen=True)
class NextRelease:
    """About how many people of a set something may be released again, of whom one withdrew.

    Parameters
    ----------
    run
        That the set was told of for the last time.
    people
        Of the set, without who withdrew.
    allowed
        How many of them a new run may be about; 0: of none, until ``minimum_people`` others are there.
    """

    run: str
    kind: str
    people: int
    allowed: int


@dataclass(frozen=True)
class PersonToForget:
    """What is kept of a person, and what of it is erased.

    Parameters
    ----------
    again
        Whether they had withdrawn before.
    named_in
        Files about many that name the person: they are written anew without.
    in_dataset
        Files that are still there, and are not touched.
    """

    subject: str
    digest: str
    again: bool
    erased: tuple[Erased, ...]
    named_in: tuple[Path, ...]
    runs: tuple[PastRun, ...]
    in_dataset: tuple[Path, ...]

    @property
    def files(self) -> int:
        """How many are erased or written anew."""
        return sum(len(found.files) for found in self.erased) + len(self.named_in)


def look_up(hospital: Hospital, subject: str) -> PersonToForget:
    """What is kept of a person; nothing is changed.

    Raises
    ------
    UserError
        If nobody of the name is, or was, at this hospital; or see `forget`.
    """
    if not SUBJECT.fullmatch(subject):
        raise UserError(f"{subject}: is no subject. Write it as the dataset does, such as sub-014.")
    secret, record = PeopleSecret.read(hospital.people_secret), hospital.releases()
    named, digest = Named(subject), secret.digest(subject)
    runs = tuple(_runs(hospital, digest))
    own, naming_ = own_files(hospital, named), naming(hospital, named)
    there, again = in_dataset(hospital, subject), digest in record.withdrawn()
    if not (own or naming_ or runs or there or again or subject in hospital.config.exclude):
        raise UserError(
            f"{subject}: nobody of this name is in {hospital.site_config('').data}, or was in a run of this hospital. "
            "Correct the name: it is that of the folder, such as sub-014."
        )
    _check_complete(hospital, (*record.withdrawn(), *([] if again else [digest])))
    of_many = [path for run in runs for path in _of_many(hospital, run)]
    erased = (
        Erased("prepared scans: theirs, and any not known to be another's", tuple(unneeded(hospital, subject))),
        Erased("maps and scores of the person", tuple(own)),
        Erased("of their runs: answers, training under way, own models", tuple(dict.fromkeys(of_many))),
        Erased("temporary files", tuple(path for path in files_below(hospital.temporary) if path not in own)),
    )
    return PersonToForget(subject, digest, again, erased, tuple(naming_), runs, there)


def forget(hospital: Hospital, found: PersonToForget, by: str) -> None:
    """Let nothing be read of the person again, and erase what `look_up` found.

    Raises
    ------
    UserError
        If it cannot be written down, or the list lacks somebody who withdrew before; then nothing is erased.
    """
    audit, record, named = Audit(hospital), hospital.releases(), Named(found.subject)
    files, after = people_class(found.files), (*record.withdrawn(), *([] if found.again else [found.digest]))
    if found.again and not found.files and not _unfinished(audit):
        return
    _check_complete(hospital, after)
    audit.append(PersonWithdrew(step="begun", by=by, files=files, withdrawn=_digest_of(after)))
    record.withdraw(found.digest)
    for of in found.erased:
        erase(hospital, of.files)
    for path in found.named_in:
        rewrite(hospital, path, named)
    if found.subject in hospital.config.exclude:
        settings.remove(hospital.folder / "site.yaml", HospitalConfig, "exclude", found.subject)
    audit.append(PersonWithdrew(step="done", by=by, files=files, withdrawn=_digest_of(after)))


def next_releases(hospital: Hospital, person: str) -> list[NextRelease]:
    """The next release of each set that a person was in who withdrew, by the digest; see `releasable`."""
    secret, record = PeopleSecret.read(hospital.people_secret), hospital.releases()
    minimum, gone, sets = hospital.config.minimum_people, set(record.withdrawn()) | {person}, record.sets()
    found: dict[tuple[str, str, frozenset[Member]], NextRelease] = {}
    for release, members in record.sets_of(person):
        left = {member for member in members if member.person not in gone}
        allowed = releasable(left, sets, minimum, lambda one: secret.lot(one, "waiting"))
        found[release.run, release.kind, members] = NextRelease(release.run, release.kind, len(left), len(allowed))
    return list(found.values())


def in_dataset(hospital: Hospital, subject: str) -> tuple[Path, ...]:
    """Folders of the dataset that are named after a person."""
    root = hospital.site_config("").data
    places = (root, *sorted(root.glob("derivatives/*")), root / "sourcedata")
    return tuple(place / subject for place in places if (place / subject).exists())


def left_over(hospital: Hospital, subject: str) -> list[Path]:
    """Files of the hospital's folder that still name the person: written by people here, not by the client."""
    return list(islice(still_naming(hospital, Named(subject)), 10))


def check_list(hospital: Hospital) -> None:
    """Refuse to go on with a list of who withdrew that is older than the audit.

    Raises
    ------
    UserError
        If somebody who withdrew is not on it.
    """
    if not _known(Audit(hospital)) <= _lists(hospital.releases().withdrawn()):
        raise UserError(
            f"{hospital.record}: is older than the audit, and lacks somebody who withdrew since, who would be read "
            "again. Restore the newest copy, or withdraw them again, the first first: normfed site forget SUBJECT --by "
            "NAME"
        )


def _check_complete(hospital: Hospital, people: tuple[str, ...]) -> None:
    """Refuse to make a list of who withdrew longer that lacks somebody who withdrew before."""
    known = _known(Audit(hospital))
    if _digest_of(people) not in known and not known <= _lists(people):
        raise UserError(
            f"{hospital.record}: is older than the audit, and lacks somebody who withdrew before. Restore the newest "
            "copy, or withdraw first who did since it was made, in the same order: normfed site forget SUBJECT --by "
            "NAME"
        )


def _unfinished(audit: Audit) -> bool:
    """Whether the last withdrawal was broken off."""
    last = _last(audit)
    return last is None or last.step == "begun"


def _known(audit: Audit) -> set[str]:
    """Digests of every list of who withdrew that the audit tells of, in archives too: each begins the next."""
    found = audit.chain.containing(WITHDREW)
    return {record.content.withdrawn for record in found if isinstance(record.content, PersonWithdrew)}


def _lists(people: tuple[str, ...]) -> set[str]:
    """Of a list, and of all that it was before."""
    return {_digest_of(people[:end]) for end in range(len(people) + 1)}


def _last(audit: Audit) -> PersonWithdrew | None:
    """The latest record that a person withdrew, in archives too."""
    found = audit.chain.containing(WITHDREW)
    return next((record.content for record in found if isinstance(record.content, PersonWithdrew)), None)


def _runs(hospital: Hospital, digest: str) -> Iterator[PastRun]:
    """Those that the person was settled in, and of older ones those that the record still names."""
    known = set()
    for path in sorted(hospital.state.glob(f"*/{MEMBERS}")):
        try:
            members = Members.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError):  # a damaged one is refused by its own run
            continue
        roles = tuple(role for role in ROLES if digest in members.of(role))
        if roles:
            known.add(path.parent.name)
            yield PastRun(path.parent.name, members.study, roles)
    for run in dict.fromkeys(release.run for release, _ in hospital.releases().sets_of(digest)):
        if run not in known:
            yield PastRun(run, "", ())


def _of_many(hospital: Hospital, run: PastRun) -> list[Path]:
    """What is kept here of a run that was made with the person too, and would be sent or gone on from."""
    state = hospital.state / run.name
    learnt = "train" in run.roles or not run.roles
    trained = (hospital.checkpoints(run.name), state / "personal") if learnt else ()
    return files_below(hospital.outbox(run.name), state / "scores", *trained)


def _digest_of(people: tuple[str, ...]) -> str:
    return digests.of_json(list(people))
