"""Has somebody looked at the cohort as it is now, and decided? The same for every study of the same modalities."""

from __future__ import annotations

from collections.abc import Sequence

from normfed_client.hospital.folder import Hospital
from normfed_client.quality.kept import Records, changed, people_of, undecided

COMMAND = "normfed site quality"


def why_not(hospital: Hospital, modalities: Sequence[str], healthy: Sequence[str]) -> str:
    """Why the cohort has not passed its look, in a sentence for the hospital; empty if it has.

    Nothing of a study counts beside its modalities and whom it calls healthy, and of these only whether they were
    looked at: who is in the dataset, how scans are prepared and what was found have no say that a server could vary.

    Parameters
    ----------
    healthy
        Values of `group` that a study takes for healthy people; none where it learns from patients' tissue.

    Raises
    ------
    UserError
        If what is kept of looks is damaged, or the dataset cannot be read.
    """
    records = Records(hospital.quality)
    look = records.latest()
    if look is None:
        return f"nobody has looked at the cohort. Run: {COMMAND}"
    unseen = [m for m in modalities if m not in look.modalities]
    if unseen:
        return f"the look was at {', '.join(look.modalities)}, not at {', '.join(unseen)}. Run: {COMMAND}"
    others = [group for group in healthy if group not in look.healthy]
    if others:
        return f"the look took {', '.join(look.healthy)} for healthy, not {', '.join(others)}. Run: {COMMAND}"
    people = people_of(hospital)
    new = changed(look, people)
    if new:
        return f"{len(new)} people are new, or their scans are others than at the latest look. Run: {COMMAND}"
    left = {doubt.subject for doubt in undecided(look, records.decisions(), hospital.config.exclude)}
    if left:
        return f"{len(left)} people wait for a decision. See {COMMAND}; then decide with --keep or --exclude"
    return ""
