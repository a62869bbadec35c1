"""A hospital's folder: what it decided, its key, and what its client keeps. Nothing in it ever leaves.

HOME/
    site.yaml           written by `normfed site join`; the hospital edits it
    site.key SITE.pub   made here; the first never leaves, the second goes to the operator
    ca.crt              the federation's certificate authority
    server-audit.pub    with which the server's audit is signed; absent where the invitation had none
    runner.secret       between Flower's node and our runner
    people.secret       decides who trains and who tests; stands for people's names in releases.sqlite
    releases.sqlite     over whom anything was ever released; back it up with people.secret
    ledger.sqlite       what was spent of people's privacy; back it up with the others, always the newest
    decisions.json      which studies people here approved or refused; asked/: the studies that were asked for
    audit.jsonl         what was asked, answered, refused and decided, signed with site.key; back it up
    outbox/<run>/       answers, on disk before they are sent
    checkpoints/<run>/  training in the middle of a round
    state/<run>/        maps, people's figures, personal parts of models, secrets of a secure sum under way, site.log
    cache/              preprocessed scans
    quality/            the latest look at the cohort, and what was decided of whom
    tmp/                of the processes, while they run
    log/                a log a process, services.json; site.log of runs that were refused
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from normfed_client.hospital.bookkeeping.budget import BudgetRules
from normfed_client.hospital.bookkeeping.counting import Signer
from normfed_client.hospital.bookkeeping.ledger import Ledger
from normfed_client.hospital.config import DEVICE, SiteConfig
from normfed_client.hospital.look_rules import LookRules
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.policy import Policy
from normfed_client.hospital.releases import Releases
from normfed_client.hospital.retention import Retention
from normfed_client.hospital.rules import CustodyConfig, Rules
from normfed_common.chain.keys import VerifyingKey
from normfed_common.deployment import settings
from normfed_common.deployment.enrolment import ADDRESS
from normfed_common.foundation import private
from normfed_common.foundation.errors import DatasetError, UserError
from normfed_common.foundation.files import inside, write_json
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName
from normfed_common.study.plugins import Plugins
from normfed_common.wire.counter import Counter

HOME_VARIABLE = "NORMFED_SITE_HOME"
PEOPLE, RECORD, LEDGER, MARK = "people.secret", "releases.sqlite", "ledger.sqlite", "ledger.json"
DEFAULT = Path("normfed-site")


class Client(Frozen):
    """Where a hospital's client finds what it needs, and how it works."""

    site: SiteName = Field(description="its name in the federation")
    server: str = Field(pattern=ADDRESS, description="host:port of the server; the one address that is ever called")
    data: Path = Field(description="the BIDS dataset; only read")
    records: str = Field(
        ".",
        description="folder with people.secret, releases.sqlite and ledger.sqlite; of two folders over one dataset, as "
        "in two federations, one names the other here: then what both release and spend counts together",
    )
    owns: tuple[str, ...] = Field((), description="values of the dataset's column `site` that take part; empty: all")
    bundles: tuple[str, ...] = Field((), description="SHA-256 of the app bundles that are accepted; others are refused")
    plugins: Plugins = Field(
        default_factory=dict,
        description="installed plug-ins that are let in, as name: 'version'; nothing of any other is ever imported",
    )
    ca: str = Field("ca.crt", description="certificates that the server's must be signed by, PEM")
    device: str = Field("auto", pattern=DEVICE, description="auto, cpu (no GPU is ever used), cuda, or cuda:1")
    gpu_memory_share: float = Field(1.0, gt=0, le=1, description="of the GPU's memory, that training may take at most")
    keep_days: float = Field(
        14.0, gt=0, le=365, description="answers, and scores that wait for more questions, are kept for so long at most"
    )
    checkpoint_minutes: float = Field(3.0, gt=0, le=1440, description="between checkpoints in the middle of a round")
    power_w: float = Field(150.0, gt=0, le=10_000, description="what the machine draws while it trains, for estimates")


class HospitalConfig(Policy, Rules, BudgetRules, LookRules, Retention, Client):
    """What a hospital decides for itself: `site.yaml`."""


class Hospital:
    """A hospital's folder.

    Parameters
    ----------
    folder
        Absolute.
    """

    def __init__(self, folder: Path, config: HospitalConfig) -> None:
        self.folder, self.config = folder, config

    key = property(lambda self: self.folder / "site.key")
    secret = property(lambda self: self.folder / "runner.secret")
    records = property(lambda self: (self.folder / self.config.records).resolve())
    people_secret = property(lambda self: self.records / PEOPLE)
    ledger_file = property(lambda self: self.records / LEDGER)
    record = property(lambda self: self.records / RECORD)
    log = property(lambda self: self.folder / "log")
    state = property(lambda self: self.folder / "state")
    cache = property(lambda self: self.folder / "cache")
    quality = property(lambda self: self.folder / "quality")
    temporary = property(lambda self: self.folder / "tmp")

    @property
    def ca(self) -> Path:
        """The certificates that the server's must be signed by."""
        return self.folder / self.config.ca

    server_audit_key = property(lambda self: self.folder / "server-audit.pub")

    def server_key(self) -> VerifyingKey | None:
        """With which the server signs its audit; None where the invitation said none.

        Raises
        ------
        UserError
            If its file is no public key.
        """
        path: Path = self.server_audit_key
        try:
            return _verifying(path, path.stat().st_mtime_ns)
        except FileNotFoundError:
            return None

    @property
    def public_key(self) -> Path:
        """What the operator is sent."""
        return self.folder / f"{self.config.site}.pub"

    def outbox(self, run: str) -> Path:
        """Where a run's answers wait."""
        return self._of_run("outbox", run)

    def checkpoints(self, run: str) -> Path:
        """Where a run's training is kept in the middle of a round."""
        return self._of_run("checkpoints", run)

    def site_config(self, run: str) -> SiteConfig:
        """What the client's apps need to know."""
        return SiteConfig(
            name=self.config.site,
            data=(self.folder / self.config.data).resolve(),
            owns=self.config.owns,
            cache=self.cache,
            output=self._of_run("state", run),
            device=self.config.device,
            custody=self.custody(run),
        )

    def custody(self, run: str) -> CustodyConfig:
        """What the hospital decides of a run's people."""
        return CustodyConfig(
            rules=Rules(**{name: getattr(self.config, name) for name in Rules.model_fields}),
            people_secret=self.people_secret,
            record=self.record,
            run=run,
            node_key=self.key,
        )

    def releases(self) -> Releases:
        """Over whom this hospital released anything.

        Raises
        ------
        UserError
            If the record cannot be used.
        """
        return Releases(self.record, PeopleSecret.read(self.people_secret))

    def ledger(self, counter: Counter | None = None) -> Ledger:
        """What this hospital spent of its people's privacy.

        Parameters
        ----------
        counter
            That a server sent back.

        Raises
        ------
        UserError
            If it cannot be used, or has fewer entries than a run in this folder or the server knows of.
        SiteError
            If this hospital never signed such a counter.
        """
        found = Ledger(self.ledger_file)
        # Read before the ledger is, which may grow in between.
        marks = [_mark(path) for path in sorted(self.state.glob(f"*/{MARK}"))]
        if counter is None:
            found.check_marks(marks)
        else:
            found.check(counter, self.signer(), marks)
        return found

    def mark_ledger(self, run: str) -> None:
        """Note in a run's folder how long the ledger is."""
        entries, head = Ledger(self.ledger_file).mark()
        write_json(self._of_run("state", run) / MARK, {"entries": entries, "head": head})

    def ledger_counter(self) -> Counter | None:
        """How long the ledger is, signed; None where nothing was spent."""
        if not self.ledger_file.exists():
            return None
        return Ledger(self.ledger_file).counter(self.signer())

    def signer(self) -> Signer:
        """Signs counters of the ledger."""
        return Signer(self.key, self.config.site)

    def check_record(self) -> None:
        """Refuse to release anything on the word of an old copy of the record.

        Raises
        ------
        UserError
            If the record has fewer sets than a run in this folder was settled with, or cannot be used.
        """
        from normfed_client.hospital.custody import newest_serial

        if newest_serial(self.state) > self.releases().serial():
            raise UserError(
                f"{self.record}: is older than the runs in {self.state}. Restore the newest copy; on the "
                "word of an old one people could be told apart who were released since.",
            )

    def check(self) -> None:
        """Refuse to start with what is weak.

        Raises
        ------
        UserError
            If a secret is missing or readable by others, or the record of releases cannot be used.
        """
        for path in (self.key, self.secret, self.people_secret, self.record):
            private.check(path)
        if self.ledger_file.exists():  # it is made with the first entry
            private.check(self.ledger_file)
        self.check_record()
        self.ledger()

    def prepare(self, run: str) -> None:
        """Make the folders of a run, for their owner only."""
        for folder in (self.outbox(run), self.checkpoints(run), self.site_config(run).output, self.temporary):
            private.make_folder(folder)

    def _of_run(self, what: str, run: str) -> Path:
        return inside(self.folder, what, *([run] if run else []))


def _mark(path: Path) -> tuple[int, str, str]:
    """What a run's folder remembers of the ledger."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return int(found["entries"]), str(found["head"]), str(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}). Compare ledger.sqlite with a backup, then delete it.") from error


def open_hospital(folder: Path) -> Hospital:
    """Open a hospital's folder.

    Raises
    ------
    UserError
        If it is not one, or its site.yaml is wrong.
    """
    make = "normfed site join ENROLMENT"
    return Hospital(folder.resolve(), settings.read_in(folder, "site.yaml", HospitalConfig, "a site's folder", make))


def of_environment() -> Hospital | None:
    """The hospital that this process works for; None in a simulation."""
    folder = os.environ.get(HOME_VARIABLE)
    if folder is None:
        return None
    path = Path(folder) / "site.yaml"
    try:
        return _opened(folder, path.stat().st_mtime_ns)
    except (OSError, UserError) as error:
        raise DatasetError(str(error)) from error


@lru_cache(maxsize=4)
def _verifying(path: Path, _mtime_ns: int) -> VerifyingKey:
    return VerifyingKey(path.read_text(encoding="ascii").strip())


@lru_cache(maxsize=1)
def _opened(folder: str, _mtime_ns: int) -> Hospital:
    return open_hospital(Path(folder))
