"""Which of several global models a site is served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def model_number(clusters: Mapping[str, int], site: str) -> int:
    """A site's own cluster; for one that has none, that of most sites; 0 where there are no clusters."""
    if site in clusters or not clusters:
        return clusters.get(site, 0)
    return min(Counter(clusters.values()).items(), key=lambda item: (-item[1], item[0]))[0]
