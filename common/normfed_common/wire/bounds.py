"""Whatever crosses and becomes the name of a file or folder, a label or a size has a pattern and a bound."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

MAXIMUM_STUDY = 1_000_000  # as large as a study file may be
MOST_PEOPLE = 10_000_000  # that anybody can claim
MOST_ROUNDS = 999_999  # sites number files by it, with six digits
MOST_ITERATIONS = 100_000
BELOW_MINIMUM = -1  # instead of a count: somebody, but fewer than the minimum cohort

RunName = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,119})?$")]
ArmName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._#+~-]{0,149}$")]
PhaseName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,60}$")]
VersionText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.+_-]{0,50}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]{0,99}$")]
Note = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,300}$")]
CountName = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,30}$")]
People = Annotated[int, Field(ge=BELOW_MINIMUM, le=MOST_PEOPLE)]
MachineText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 .,:()/+_-]{0,100}$")]
