"""Groups of a dataset, and which of them is healthy where a study's word for it is not among them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from normfed_client.imaging.bids import Visit

NO_GROUP = "none"  # what the group of people is called who have none
# As public datasets and clinics write it: healthy or normal controls, cognitively normal, ...
HEALTHY = re.compile(
    r"((healthy|normal|cognitively)[-_ ]?)?(controls?|normals?|healthy|volunteers?)|hcs?|hv|ncs?|cn|cu|nl|ct(r|l|rl)",
    re.IGNORECASE,
)


def groups_of(visits: Iterable[Visit]) -> Counter[str]:
    """How many people are in each group."""
    return Counter({visit.participant.subject: visit.participant.group or NO_GROUP for visit in visits}.values())


def shown(groups: Mapping[str, int]) -> str:
    """``HC (20), MS (14)``."""
    return ", ".join(f"{group} ({count})" for group, count in sorted(groups.items()))


def sounding_healthy(groups: Collection[str]) -> list[str]:
    """Those whose names say that their people are healthy."""
    return sorted(group for group in groups if HEALTHY.fullmatch(group))


def none_healthy(groups: Mapping[str, int], healthy: Collection[str]) -> str:
    """That nobody is in a group that a study takes for healthy, and how to say which is; empty where somebody is."""
    if any(group in groups for group in healthy):
        return ""
    return (
        f"nobody of {sum(groups.values())} people is in the group {' or '.join(healthy)}, so nobody is known to be "
        f"healthy; their groups: {shown(groups)}. {how_to_say(groups)}"
    )


def how_to_say(groups: Collection[str]) -> str:
    """How a person says which groups are healthy, with those whose names sound so."""
    likely = sounding_healthy(groups)
    if likely:
        listed = f"[{', '.join(likely)}]"
        return (
            f"{' and '.join(likely)} sound{'' if len(likely) > 1 else 's'} healthy: write control_groups: {listed} "
            f"under data of the study, or give --set 'data.control_groups={listed}'."
        )
    return "Name the healthy group under data.control_groups, or fill in the column group."
