"""The audit of a hospital: `audit.jsonl` in its folder, a chain of records signed with the site's key.

What is written and how is `normfed_common.chain`; here is what a site does with it. Records are written before what
they are about happens: an answer of which there is no record does not leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from pathlib import Path

from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_common.chain.files import Chain
from normfed_common.chain.keys import SigningKey, VerifyingKey, statement
from normfed_common.chain.kinds.content import Content
from normfed_common.chain.kinds.shared import Asked, LossAccepted, Started
from normfed_common.chain.kinds.site import (
    Answered,
    Contradicted,
    KeyMade,
    Refused,
    Repeated,
    RulesChanged,
    ServerWentBack,
)
from normfed_common.chain.records import Record
from normfed_common.chain.verifying import Verified, verify
from normfed_common.deployment.enrolment import key_fingerprint
from normfed_common.foundation import digests
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import is_full
from normfed_common.foundation.versions import installed_version
from normfed_common.wire.head import Head

FILE = "audit.jsonl"
LOOKED_BACK = 50  # records, for what was said of heads
AGAIN = timedelta(hours=1)


class Audit:
    """The audit of one hospital; safe to use from several processes."""

    def __init__(self, hospital: Hospital) -> None:
        self.hospital = hospital
        self.chain = Chain(hospital.folder / FILE, lambda: _key(hospital.key), hospital.config.site)

    def append(self, entry: Content) -> Record:
        """Write a record; it is on the disk when this returns.

        Raises
        ------
        UserError
            If it cannot be written: then what it is about must not happen.
        """
        try:
            return self.chain.append(entry)
        except OSError as error:
            why = "the disk is full" if is_full(error) else error.strerror or type(error).__name__
            raise UserError(
                f"{self.chain.path}: cannot be written ({why}). Nothing leaves of which there is no record: free some "
                "space, or restore the rights of the folder."
            ) from error

    def files(self) -> list[Path]:
        """That the audit lies in."""
        return [path for path in (*self.chain.archives(), self.chain.path) if path.exists()]

    def entries(self) -> list[Record]:
        """All records that lie here, the latest last.

        Raises
        ------
        UserError
            If one cannot be read.
        """
        return list(self.chain.records())

    def verify(self, heads: Mapping[str, Iterable[Head]] | None = None) -> Verified:
        """Hold every record against its digest, its signature and the one before it; see `verify`."""
        return verify(self.chain.lines(), self._public, heads)

    def answered(self, asked: Asked, content: str) -> Record | None:
        """The latest record of an answer, signed as it stands; None where there is none.

        Parameters
        ----------
        content
            Digest of what is answered.
        """
        for record in self.chain.containing(f'"content":"{content}"'.encode()):
            said = record.content
            if isinstance(said, Answered) and (said.asked, said.content) == (asked, content) and self._whole(record):
                return record
        return None

    def lacks(self, asked: Asked, content: str, head: Head | None) -> str:
        """Why an answer must not leave, as a phrase.

        Empty where a signed record of this question and content is there, and the answer's head is signed by this site
        and stands in the audit at that record or after it.
        """
        record = self.answered(asked, content)
        if record is None:
            return "there is no record of it"
        if head is None or not self._public.made_head(head):
            return "it has no head of the audit that is signed"
        return self.chain.lacks(head) or ("its head is of before its record" if head.records < record.number else "")

    @property
    def _public(self) -> VerifyingKey:
        return _verifying(_key(self.hospital.key).line)

    def _whole(self, record: Record) -> bool:
        signed = statement(record.chain, record.number, record.digest)
        return record.made_of() == record.digest and self._public.made(signed, record.signature)

    def started(self) -> None:
        """The client starts: with which version, by which rules."""
        self.append(Started(version=installed_version()))
        self.note_rules()

    def key_made(self) -> None:
        """The site has a new key."""
        self.append(KeyMade(fingerprint=key_fingerprint(_key(self.hospital.key).line.encode())))

    def note_rules(self) -> None:
        """Write down that site.yaml is another, if it is another than the last that was written down."""
        now = rules_digest(self.hospital.config)
        before = next((r.content.after for r in self.chain.backwards() if isinstance(r.content, RulesChanged)), "")
        if now != before:
            self.append(RulesChanged(before=before, after=now))

    def contradiction(self, head: Head) -> str:
        """Why this is not the chain of which the server holds a head; empty where it is.

        A head that this key did not sign says nothing: the site had another key, or the server made it up.
        """
        if not self._public.made_head(head):
            return ""
        why = self.chain.lacks(head)
        if not why:
            return ""
        if any(head.chain == known.chain and head.records <= known.records for known in self.chain.losses()):
            return ""
        told = Contradicted(head=head)
        if not any(record.content == told for record in islice(self.chain.backwards(), LOOKED_BACK)):
            self.append(told)
        return (
            f"{self.chain.path}: is an old copy, or was cut: {why}. Restore the newest copy; if it is lost: "
            "normfed site audit --accept-loss, which says so in the audit."
        )

    def accept_loss(self) -> int:
        """Go on without the records that the server knows of and that are lost; returns how many it knows of.

        Raises
        ------
        UserError
            If the server has not said that any are missing.
        """
        told = next((r.content.head for r in self.chain.backwards() if isinstance(r.content, Contradicted)), None)
        if told is None:
            raise UserError(f"{self.chain.path}: no request said that records of it are missing. Nothing to accept.")
        self.append(LossAccepted(head=told))
        return told.records

    def went_back(self, told: Head | None) -> ServerWentBack | None:
        """What is to be written down of the server's own chain, of which it says ``told`` with a request; None where
        nothing speaks against it.

        That it is another chain, that a record is another than was said before, that it is not told any more, or that
        it is shorter than it was an hour ago or more. Within the hour a request may have been sent again, with the head
        that it had when it was first sent; what no rule here finds, the comparison of the two chains does.
        """
        known = self._heads_of_server()
        heard, last = next(known, ("", None))
        if last is None:
            return None
        if told is None or told.chain != last.chain:
            return ServerWentBack(known=last, told=told)
        same = next((head for head in (last, *(head for _, head in known)) if head.records == told.records), None)
        if same is not None:
            return None if same.digest == told.digest else ServerWentBack(known=same, told=told)
        long_ago = datetime.now(UTC) - datetime.fromisoformat(heard) > AGAIN
        return ServerWentBack(known=last, told=told) if told.records < last.records and long_ago else None

    def _heads_of_server(self) -> Iterator[tuple[str, Head]]:
        """That came with the last requests, the latest first, and when."""
        for record in islice(self.chain.backwards(), LOOKED_BACK):
            content = record.content
            if isinstance(content, ServerWentBack):
                if content.told is not None:
                    yield record.time, content.told
                return
            if isinstance(content, Answered | Repeated | Refused) and content.server is not None:
                yield record.time, content.server


def rules_digest(config: HospitalConfig) -> str:
    """Of all that site.yaml says."""
    return digests.of_json(config.model_dump(mode="json"))


_verifying = lru_cache(maxsize=8)(VerifyingKey)


@lru_cache(maxsize=8)
def _key_as_of(path: Path, _mtime_ns: int) -> SigningKey:
    return SigningKey(path)


def _key(path: Path) -> SigningKey:
    """Read once while its file stays the same."""
    try:
        return _key_as_of(path, path.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing. Restore it from a backup; it cannot be made again.") from error
