"""reproduction.json: ours beside the published table, with what differs, and whether the data are real."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from normfed_common.foundation.files import write_text
from normfed_common.study.base import Frozen
from normfed_simulation.reproduction.comparing import ComparedRow

FILE = "reproduction.json"


class Patient(Frozen):
    """One patient of ours: whether a suspicious cluster touches the lesion, and which one first."""

    arm: str
    site: str
    name: str
    detected: bool
    rank: int | None


class Reproduction(Frozen):
    """Everything that the table shows."""

    recipe: str
    title: str
    citation: str
    look_alike: bool = Field(description="made-up data: then no figure says anything of the published ones")
    data: dict[str, tuple[str, ...]] = Field(description="folders by role")
    arms: dict[str, str] = Field(description="folder of each run, below this one")
    not_run: dict[str, str] = Field(description="arms that were not run, and why")
    rows: tuple[ComparedRow, ...]
    ours_alone: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="figures of ours beside which nothing was published"
    )
    patients: tuple[Patient, ...] = ()
    published_patients: dict[str, dict[str, int | None]] = Field(default_factory=dict)
    differs: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """One sentence over all figures."""
        if self.look_alike:
            return "Made-up data: the recipe runs, and nothing is reproduced."
        verdicts = [figure.verdict for row in self.rows for figure in row.figures]
        compared = len(verdicts) - verdicts.count("not comparable")
        if not compared:
            return f"None of the {len(verdicts)} published figures can be compared."
        return (
            f"{verdicts.count('within')} of {compared} comparable figures agree with what was published, "
            f"{verdicts.count('outside')} do not; {len(verdicts) - compared} cannot be compared."
        )


def write(folder: Path, found: Reproduction) -> Path:
    """Write the file; returns its path."""
    path = folder / FILE
    write_text(path, found.model_dump_json(indent=1) + "\n")
    return path
