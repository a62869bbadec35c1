"""Every error of ours.

NormfedError                our fault                                    exit code 1
├── UserError               something that the user can fix             exit code 2
│   ├── StudyError          the study file
│   ├── PluginError         an installed plug-in that cannot be used
│   ├── DatasetError        a dataset as a whole
│   │   └── ScanError       one file or one subject in it
│   │       └── ReadError   the system, not the file's content: it may work the next time
│   └── RunError            a run folder
│       └── DamagedError    a file of ours that is not what was written
├── WireError               a message that is not what the protocol says
│   └── ProtocolError       a message of another protocol
└── SiteError               the only thing that crosses to another hospital: a code, never a name or a path
"""

from __future__ import annotations

import os
import traceback
from enum import IntEnum
from types import FrameType

TRACEBACK_VARIABLE = "NORMFED_TRACEBACK"  # in the environment, for whoever looks for a fault of ours


def _inner(frame: FrameType) -> bool:
    """Whether a frame is of this project or of IPython, and not of whoever called it."""
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package in ("normfed", "IPython", "ipykernel") or package.startswith("normfed_")


class NormfedError(Exception):
    """Base of all errors of this project."""

    exit_code = 1


class UserError(NormfedError):
    """Something the user can fix; the text says what, where, why and what to do."""

    exit_code = 2

    def _render_traceback_(self) -> list[str]:
        """What IPython and Jupyter show: the caller's own lines and the sentence; all with `TRACEBACK_VARIABLE` set."""
        if os.environ.get(TRACEBACK_VARIABLE):
            return "".join(traceback.format_exception(self)).splitlines()
        frames = [(frame, line) for frame, line in traceback.walk_tb(self.__traceback__) if not _inner(frame)]
        lines = "".join(traceback.StackSummary.extract(iter(frames)).format()).splitlines()
        return [*lines, f"{type(self).__name__}: {self}", *getattr(self, "__notes__", ())]


class StudyError(UserError):
    """The study file asks for something that cannot be done."""


class PluginError(UserError):
    """A plug-in cannot be used: its name is taken, it is broken, or this site does not let it in."""


class DatasetError(UserError):
    """The dataset as a whole cannot be used."""


class HarmonizationError(DatasetError):
    """From these people a transform of the study cannot be learnt, such as ComBat where scanners cannot be told from
    people."""


class ScanError(DatasetError):
    """One scan, or one subject, cannot be used; the study can go on without it."""


class ReadError(ScanError):
    """The operating system could not read a scan just now, which says nothing of what the scan holds."""


class RunError(UserError):
    """The run folder is not what the command needs."""


class DamagedError(RunError):
    """A file does not hold what was written to it: a bit flipped on the disk, or a write was cut short; ``why`` says
    how that shows."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(text)
        self.why = why


class WireError(NormfedError):
    """A message breaks the protocol: unknown fields, wrong shapes, not finite, absurdly large."""


class ProtocolError(WireError):
    """A message that cannot be read, and says that it is of another protocol."""


SITE_CODES = range(200, 1000)  # Flower's own codes are smaller


class SiteCode(IntEnum):
    """Why a site did not answer. The numbers are part of the protocol: never reuse one. `SiteCode(number)` of one of
    `SITE_CODES` that is not listed here is the code of a newer version."""

    INTERNAL = 200
    STUDY_REFUSED = 201
    DATA_UNUSABLE = 202
    COHORT_TOO_SMALL = 203
    NO_TRAINING_SUBJECTS = 204
    NO_TEST_SUBJECTS = 205
    BAD_REQUEST = 206
    NOT_FINITE = 207
    OUT_OF_SPACE = 208
    PERSONAL_PART_MISSING = 209
    VERSION_DIFFERS = 210
    BUNDLE_REFUSED = 211
    NOT_INSTALLED = 212
    TOOK_TOO_LONG = 213
    WORKER_DIED = 214
    MINIMUM_TOO_LOW = 215
    TOO_CLOSE_TO_EARLIER = 216
    TOO_MUCH_ASKED = 217
    NAMES_PEOPLE = 218
    RECORD_UNUSABLE = 219
    RECIPE_REFUSED = 220
    PLUGIN_REFUSED = 221
    MAP_UNUSABLE = 222
    METRIC_UNUSABLE = 223
    BUDGET_SPENT = 224
    PRIVACY_REQUIRED = 225
    TOO_LITTLE_PRIVACY = 226
    NOT_SAID = 227
    NO_STATISTICS = 228
    SECURE_SUM_REFUSED = 230
    OUT_OF_RANGE = 231
    PEERS_UNKNOWN = 232
    SECURE_SUMS_ONLY = 233
    OWN_NOISE_ONLY = 234
    SCANNER_TOO_SMALL = 240
    COVARIATES_UNKNOWN = 241
    AGES_APART = 242
    NOTHING_PAIRED = 245
    AWAITS_APPROVAL = 250
    REFUSED_BY_HOSPITAL = 251
    POLICY_REFUSED = 252
    OUT_OF_HOURS = 253
    WITHDRAWN = 254
    UNDECLARED = 255
    AUDIT_UNUSABLE = 258
    HEAD_NOT_SIGNED = 259
    COHORT_NOT_LOOKED_AT = 260
    PROTOCOL_DIFFERS = 264

    @property
    def sentence(self) -> str:
        """What the operator of another hospital may know."""
        return _SENTENCES.get(self) or f"a reason that only newer versions of normfed know (code {int(self)})"

    @property
    def of_the_study(self) -> bool:
        """Whether what the study asks for is refused: no other answer will come before there is another study."""
        return self in _OF_THE_STUDY

    @property
    def of_consent(self) -> bool:
        """Whether people at the hospital decided so, or have not decided yet: no fault, nor a reason to stop others."""
        return self in _OF_CONSENT

    @classmethod
    def _missing_(cls, value: object) -> SiteCode | None:
        if not isinstance(value, int) or value not in SITE_CODES:
            return None
        newer = int.__new__(cls, value)
        newer._name_, newer._value_ = "OF_A_NEWER_VERSION", value
        return newer


_SENTENCES = {
    SiteCode.INTERNAL: "an error inside the site; its own log says more",
    SiteCode.STUDY_REFUSED: "the site cannot run this study",
    SiteCode.DATA_UNUSABLE: "the site's data cannot be used as they are; its own log says which file and why",
    SiteCode.COHORT_TOO_SMALL: "the site has fewer subjects than its minimum cohort",
    SiteCode.NO_TRAINING_SUBJECTS: "the site has nobody to train on",
    SiteCode.NO_TEST_SUBJECTS: "the site has nobody to test on",
    SiteCode.BAD_REQUEST: "the site could not read the request, or the study does not provide for it",
    SiteCode.NOT_FINITE: "training at the site diverged (not a number)",
    SiteCode.OUT_OF_SPACE: "the site's disk is full",
    SiteCode.PERSONAL_PART_MISSING: "the site has no personal part of this model: it never trained it, or lost it",
    SiteCode.VERSION_DIFFERS: "the site's version of normfed is more than one minor release from the server's, or "
    "it has another version of a plug-in that the study uses; the older one must be updated",
    SiteCode.BUNDLE_REFUSED: "the site does not accept the app bundle that the server sends: it speaks another "
    "protocol, or its site.yaml does not list the bundle; normfed site check there says which",
    SiteCode.NOT_INSTALLED: "the site's client runs from elsewhere than its installed distribution",
    SiteCode.TOOK_TOO_LONG: "the work took longer than the site allows",
    SiteCode.WORKER_DIED: "the site's worker died again and again; its own log says more",
    SiteCode.MINIMUM_TOO_LOW: "the site's own minimum of people is higher than federation.minimum_cohort of the study",
    SiteCode.TOO_CLOSE_TO_EARLIER: "what the site would release differs by too few people from what it released before",
    SiteCode.TOO_MUCH_ASKED: "the study asks for more than the site allows (rounds, epochs, samples, models, bytes)",
    SiteCode.NAMES_PEOPLE: "the study names single people under data.exclude; that is for each site to decide",
    SiteCode.RECORD_UNUSABLE: "the site's record of earlier releases, or its ledger of privacy, is damaged or an old "
    "copy, so it releases nothing; its own log says which",
    SiteCode.RECIPE_REFUSED: "the site does not prepare scans in the way that the study asks; its own log says what",
    SiteCode.PLUGIN_REFUSED: "the site does not have, or does not let in, a plug-in that the study uses; its own log "
    "says which",
    SiteCode.MAP_UNUSABLE: "a map that the model makes at the site is not finite, is negative, or is not 0 outside the "
    "brain; the site's own log says which",
    SiteCode.METRIC_UNUSABLE: "a metric of the study is beyond its own bounds for a scan at the site; the site's own "
    "log says which",
    SiteCode.BUDGET_SPENT: "the site's privacy budget does not allow what the study asks for; its own log says what is "
    "left",
    SiteCode.PRIVACY_REQUIRED: "the site takes part in studies with differential privacy only (privacy.epsilon)",
    SiteCode.TOO_LITTLE_PRIVACY: "the study's privacy.epsilon or privacy.delta is larger than the site allows",
    SiteCode.NOT_SAID: "the site could not do the work, and in a study with privacy.epsilon does not say why, for that "
    "may be about one person; its own log does",
    SiteCode.NO_STATISTICS: "the site lets no statistics of its people leave (statistics of its site.yaml)",
    SiteCode.SECURE_SUM_REFUSED: "the site takes no part in this secure sum: too few sites, keys that are not its "
    "peers' own, a second answer, or not all sites were told the same; its own log says which",
    SiteCode.OUT_OF_RANGE: "a number of the site's is beyond the range that the study declares for secure sums "
    "(largest_change, largest_sum), or not one",
    SiteCode.PEERS_UNKNOWN: "the site knows the keys of too few other sites for secure aggregation (peers of its "
    "site.yaml), or its minimum of sites in a sum is higher than the study's",
    SiteCode.SECURE_SUMS_ONLY: "the site takes part with secure aggregation only",
    SiteCode.OWN_NOISE_ONLY: "the site does not count on the noise of so many sites (noise_from_sites of its "
    "site.yaml): lower minimum_sites, or write noise: each-site",
    SiteCode.SCANNER_TOO_SMALL: "a scanner of the site, or with covbat the site, has fewer people than the study's "
    "ComBat takes (minimum_people); the site's own log says which",
    SiteCode.COVARIATES_UNKNOWN: "of too many people at a scanner of the site an age or sex that the study's ComBat "
    "keeps is not known; the site's own log says which",
    SiteCode.AGES_APART: "a scanner of the site has people of ages that other scanners' do not have, so that ComBat "
    "cannot tell age from scanner; the site's own log says which",
    SiteCode.NOTHING_PAIRED: "nobody at the site, or fewer people than its minimum, was scanned on both scanners "
    "that a transform of the study names, so it has no part in that training; its own log says which scanners it knows",
    SiteCode.AWAITS_APPROVAL: "nobody at the site has approved this study yet; it waits there for a person",
    SiteCode.REFUSED_BY_HOSPITAL: "a person at the site refused this study",
    SiteCode.POLICY_REFUSED: "the site's policy does not let in a model, a strategy or a transform of the study, or "
    "lets no figures leave; its own log says which",
    SiteCode.OUT_OF_HOURS: "it is outside the hours in which the site works; it answers later",
    SiteCode.WITHDRAWN: "the hospital withdrew from this study for good, and erased what it kept of it",
    SiteCode.AUDIT_UNUSABLE: "the site's audit cannot be written, or is older than what the server knows of it, and "
    "nothing leaves of which there is no record; its own log says which",
    SiteCode.HEAD_NOT_SIGNED: "what the site or the server says of the end of its own audit is not signed with the key "
    "that the other knows of it; compare the fingerprints of SITE.pub and audit.pub by telephone",
    SiteCode.PROTOCOL_DIFFERS: "the site speaks another protocol than the server; the older one must be updated",
    SiteCode.UNDECLARED: "what the site was about to send is not in the list of what may leave that was approved "
    "there, so nothing was sent; its own log says what it was",
    SiteCode.COHORT_NOT_LOOKED_AT: "the site waits for a look at its cohort by the hospital's own people, or for their "
    "decisions (normfed site quality there)",
}

_OF_THE_STUDY = frozenset(
    {
        SiteCode.STUDY_REFUSED,
        SiteCode.MINIMUM_TOO_LOW,
        SiteCode.TOO_MUCH_ASKED,
        SiteCode.NAMES_PEOPLE,
        SiteCode.RECIPE_REFUSED,
        SiteCode.BUDGET_SPENT,
        SiteCode.PRIVACY_REQUIRED,
        SiteCode.TOO_LITTLE_PRIVACY,
        SiteCode.PEERS_UNKNOWN,
        SiteCode.SECURE_SUMS_ONLY,
        SiteCode.OWN_NOISE_ONLY,
        SiteCode.SCANNER_TOO_SMALL,
        SiteCode.COVARIATES_UNKNOWN,
        SiteCode.AGES_APART,
        SiteCode.POLICY_REFUSED,
    }
)

_OF_CONSENT = frozenset(
    {
        SiteCode.AWAITS_APPROVAL,
        SiteCode.REFUSED_BY_HOSPITAL,
        SiteCode.POLICY_REFUSED,
        SiteCode.OUT_OF_HOURS,
        SiteCode.WITHDRAWN,
    }
)


class SiteError(NormfedError):
    """Crosses to another hospital as its code and nothing else; ``detail`` stays in the site's own log."""

    def __init__(self, code: SiteCode, detail: str = "") -> None:
        super().__init__(f"{code.name} ({int(code)}): {code.sentence}")
        self.code = code
        self.detail = detail
