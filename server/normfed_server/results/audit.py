"""What an audit found, as RUN/privacy-audit.json keeps it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from normfed_common.foundation.files import write_text
from normfed_common.study.base import Frozen
from normfed_server.results.reading import read_as

FILE = "privacy-audit.json"


class Figure(Frozen):
    """A figure and its 95 % interval; ``low`` and ``high`` are absent where there is too little for one."""

    value: float
    low: float | None = None
    high: float | None = None


class Finding(Frozen):
    """One attack, and how far it got."""

    attack: str = Field(description="its name in the registry")
    title: str
    knows: str = Field(description="what the attacker has, beside the study")
    measure: str = Field(description="what `figure` is: AUC, correlation, accuracy, PSNR in dB")
    figure: Figure | None = Field(None, description="absent where the attack could not be made; `notes` say why")
    chance: float | None = Field(None, description="`figure` of whoever knows nothing")
    baselines: dict[str, float] = Field(
        default_factory=dict, description="`figure` of whoever knows no more than what is public"
    )
    rates: dict[str, float | None] = Field(
        default_factory=dict,
        description="true-positive rate by false-positive rate; null where too few people are audited for such a rate",
    )
    curve: tuple[tuple[float, float], ...] = Field((), description="false- and true-positive rates")
    people: int = Field(0, ge=0, description="whom it was tried on")
    decisions: int = Field(0, ge=0, description="about these people, over all trials")
    trials: int = Field(0, ge=0, description="federations, releases or samples")
    epsilon_at_least: float | None = Field(
        None, ge=0, description="lower bound on the epsilon of what was attacked, at 95 % confidence"
    )
    epsilon_of: str = Field("", description="of what, where it is another thing than the study's model")
    notes: tuple[str, ...] = ()


class Protection(Frozen):
    """What the study claims to protect people by."""

    epsilon: float | None = Field(None, description="upper bound, per person and model; absent where there is no noise")
    delta: float
    unit: str
    secure_aggregation: bool
    central_epsilon: float | None = None


class PrivacyAudit(Frozen):
    """One run, attacked."""

    version: str
    run: str
    study: str
    digest: str
    model: str
    protection: Protection
    shadows: int
    seed: int
    seconds: float
    findings: tuple[Finding, ...]


def save(folder: Path, audit: PrivacyAudit) -> Path:
    """Write it into the run folder."""
    path = folder / FILE
    write_text(path, audit.model_dump_json(indent=1) + "\n")
    return path


def read(folder: Path) -> PrivacyAudit | None:
    """What `save` wrote; None where no audit was made.

    Raises
    ------
    DamagedError
        If it cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return None
    return read_as(PrivacyAudit, path, "Audit the run again.")
