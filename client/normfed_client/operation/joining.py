"""Join a federation: a key of this hospital's own, and its site.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from normfed_client.hospital.bookkeeping.ledger import Ledger
from normfed_client.hospital.folder import LEDGER, PEOPLE, RECORD, Hospital, HospitalConfig
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.releases import Releases
from normfed_client.recording.audit import Audit
from normfed_common.deployment import settings
from normfed_common.deployment.enrolment import Enrolment, key_fingerprint
from normfed_common.foundation import private
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_text


@dataclass(frozen=True)
class Joined:
    """What has to happen next: send ``public_key``, compare both fingerprints by telephone."""

    folder: Path
    public_key: Path
    key_fingerprint: str


def record_beside(folder: Path) -> Path:
    """Where what was released stays when a hospital leaves."""
    return folder.with_name(f"{folder.name}-record")


def keep_record(hospital: Hospital, folder: Path) -> None:
    """Copy what says over whom a hospital released anything: it outlives its membership.

    Raises
    ------
    UserError
        If there is a record already, or the ledger cannot be used.
    """
    if folder.exists():
        raise UserError(f"{folder}: there is a record already. Move it away first; it must not be lost.")
    Ledger(hospital.ledger_file).entries()  # what a crash left in a journal beside it is settled
    private.make_folder(folder)
    spent = [hospital.ledger_file] if hospital.ledger_file.exists() else []
    for path in (hospital.people_secret, hospital.record, *spent, hospital.public_key, *Audit(hospital).files()):
        private.write_new(folder / path.name, path.read_bytes())


def join(enrolment: Enrolment, folder: Path, data: Path, owns: tuple[str, ...], record: Path | None = None) -> Joined:
    """Make a hospital's folder with a new key.

    Parameters
    ----------
    record
        What `keep_record` kept: over whom this hospital released anything before, wherever that was.

    Raises
    ------
    UserError
        If there is something in the folder already, no dataset, or no such record.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is not empty. Choose another --home; keys are never overwritten.")
    if not data.is_dir():
        raise UserError(f"{data}: no such folder. Give the BIDS dataset with --data.")
    beside = record_beside(folder)
    if record is None and beside.exists():
        raise UserError(
            f"{beside}: holds what this hospital released before. Give --record {beside}, or move it away if it is "
            "another hospital's."
        )
    missing = [name for name in (PEOPLE, RECORD) if record is not None and not (record / name).is_file()]
    if missing:
        raise UserError(
            f"{record}: holds no {' and no '.join(missing)}. Give the folder that normfed site leave named."
        )
    private.make_folder(folder)
    key = ec.generate_private_key(ec.SECP384R1())
    private.write_new(
        folder / "site.key",
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        ),
    )
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    public = folder / f"{enrolment.site}.pub"
    public.write_bytes(line + f" normfed {enrolment.site}\n".encode())
    private.write_new(folder / "runner.secret", private.secret())
    if record is None:
        private.write_new(folder / PEOPLE, private.secret())
        Releases.create(folder / RECORD, PeopleSecret.read(folder / PEOPLE))
    else:
        for name in (PEOPLE, RECORD, *([LEDGER] if (record / LEDGER).exists() else [])):
            private.write_new(folder / name, (record / name).read_bytes())
    write_text(folder / "ca.crt", enrolment.ca)
    if enrolment.audit_key:
        write_text(folder / "server-audit.pub", enrolment.audit_key + "\n")
    private.make_folder(folder / "log")
    config = HospitalConfig(
        site=enrolment.site, server=enrolment.address, data=data.resolve(), owns=owns, bundles=(enrolment.bundle,)
    )
    # Last: a folder with site.yaml is complete.
    settings.write(folder / "site.yaml", config)
    Audit(Hospital(folder.resolve(), config)).key_made()
    return Joined(folder, public, key_fingerprint(line))
