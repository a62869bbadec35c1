"""What to do about the codes of sites: the operator's table of the first guide, which comes with the wheel too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from normfed_common.foundation.errors import UserError

TABLE = "ten-minutes.md"  # of the guides: one row for every code
CODE = re.compile(r"\b(\d{3}) [A-Z_]{4,}")
LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


@dataclass(frozen=True)
class Cure:
    """A row of the table, in Markdown: what a code means, and what to do."""

    meaning: str
    remedy: str

    @property
    def plain(self) -> Cure:
        """The same for a terminal: links are their words."""
        return Cure(LINK.sub(r"\1", self.meaning), LINK.sub(r"\1", self.remedy))


def guide() -> Path:
    """The guide with the table: in the wheel, or in the source tree.

    Raises
    ------
    UserError
        If it is in neither.
    """
    here = Path(__file__).parent
    places = (here / "shipped_guides" / TABLE, here.parents[1] / "deploy" / "guides" / TABLE)
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise UserError(f"{places[0]}: is missing, so codes have no cures here. Install normfed again.")
    return found


def cures(path: Path) -> dict[int, Cure]:
    """Code to what the table in a guide says of it."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = line.strip("| ").split(" | ")
        for number in CODE.findall(cells[0]) if line.startswith("| ") and len(cells) == 3 else ():
            found[int(number)] = Cure(cells[1], cells[2])
    return found
