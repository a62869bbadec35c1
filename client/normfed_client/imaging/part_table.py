"""How many people of each site have which role in a study: on a terminal, and for a program to read."""

from __future__ import annotations

from collections.abc import Collection

from rich.console import Console

from normfed_client.imaging.parts import ROLES, Cast
from normfed_common.deployment.terminal import NOTHING, print_table
from normfed_common.wording.terminal_text import plain

COLUMNS = ("site", "train", "held out", "test", "left out")
FEW = " (too few)"


def print_roles(console: Console, sites: Collection[str], title: str, cast: Cast) -> None:
    """Print a row per site, with what the columns mean; nothing where nobody has a role."""
    if not any(part.roles for part in cast.parts):
        return
    rows = [_row(site, cast) for site in sites]
    console.print(f"[italic]People in {plain(title)}[/]", highlight=False, soft_wrap=True)
    print_table(console, COLUMNS, rows, COLUMNS[1:4])
    said = [
        "Drawn by the study's seed, as a simulation does; a hospital draws by a secret of its own. Nothing is trained "
        f"on whoever is held out. {_held_out_for(sites, cast)}"
    ]
    if any(FEW in cell for row in rows for cell in row):
        least = f"less than federation.minimum_cohort, {cast.minimum}"
        said.append(f"Too few: {least}; the site takes no part in what the column says.")
    console.print(f"[dim]{' '.join(said)}[/]", highlight=False)


def _held_out_for(sites: Collection[str], cast: Cast) -> str:
    """What the people held out are for, and what happens where they are too few for it."""
    least = cast.minimum
    if any(cast.at(site)["held_out"] >= least for site in sites):
        return f"Sites with {least} or more held out set thresholds and p-values."
    return (
        "The threshold is set on the patients' own lesion-free tissue, and there are no p-values: for these it takes a "
        f"site that holds out {least} or more (data.held_out_people)."
    )


def roles_of(site: str, cast: Cast) -> dict[str, object]:
    """Of a site for a program: people per role, and the left out by reason."""
    at = cast.at(site)
    return {**{role: at[role] for role in ROLES}, "left_out": cast.left_out(site)}


def people(cast: Cast) -> list[dict[str, object]]:
    """Everybody for a program: roles, or why they are left out."""
    return [
        {"name": part.subject, "site": part.site, "roles": list(part.roles), "left_out": part.why or None}
        for part in cast.parts
    ]


def _row(site: str, cast: Cast) -> list[str]:
    at, left_out = cast.at(site), cast.left_out(site)
    counts = [f"{at[role]}{FEW if 0 < at[role] < cast.minimum else ''}" for role in ROLES]
    return [site, *counts, ", ".join(f"{left_out[why]}: {why}" for why in sorted(left_out)) or NOTHING]
