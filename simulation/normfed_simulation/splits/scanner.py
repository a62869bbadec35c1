"""Every scanner a site of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normfed_common.citations.bibliography import ELEMENTARY
from normfed_common.foundation.errors import StudyError
from normfed_common.study.data import site_names
from normfed_simulation.splits.base import DividedPerson, Split, SplitConfig


class Scanner(Split):
    """Whoever was scanned on the same scanner, as the column `scanner` names it, wherever that stood."""

    Config = SplitConfig
    cited = (ELEMENTARY,)

    def divide(self, people: Sequence[DividedPerson], rng: np.random.Generator) -> list[str]:
        """See `Split`."""
        unknown = [person.participant.subject for person in people if person.participant.scanner is None]
        if len(unknown) == len(people):
            raise StudyError(
                "nobody has a scanner: participants.tsv has no column scanner, or it is empty. Add it, or split by "
                "something else."
            )
        if unknown:
            raise StudyError(
                f"{len(unknown)} of {len(people)} people have no scanner in participants.tsv, such as {unknown[0]}. "
                "Fill in the column scanner, or list them under data.exclude."
            )
        scanners = [str(person.participant.scanner) for person in people]
        if len(set(scanners)) == 1:
            raise StudyError(
                f"everybody was scanned on {scanners[0]}, so there would be one site, which is no federation. Split by "
                "something else."
            )
        try:
            names = site_names(scanners)
        except ValueError as error:
            raise StudyError(f"the scanners {error}. Rename one of them in the column scanner.") from error
        return [names[scanner] or "scanner" for scanner in scanners]
