"""Draw how fast each simulated hospital is, within what the FeTS federation measured (Pati 2022, Nat. Commun. 13:7346).

Seconds per person: training 1.8 to 20.7, validation 9.7 to 40.2. Per model: download 13 to 217, upload 20 to 431.
Drawn log-uniformly, once per site. FeTS gives no figure for broken links: we assume that one transfer in
fifty breaks off half-way and begins again six minutes later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from normfed_common.foundation import seeds
from normfed_server.arms.virtual_clock import Pace, SitePace

RANGES = {"train_s": (1.8, 20.7), "validate_s": (9.7, 40.2), "download_s": (13.0, 217.0), "upload_s": (20.0, 431.0)}


def draw(sites: Iterable[str], seed: int) -> Pace:
    """A pace for every site, the same for the same seed."""
    paces = {}
    for site in sites:
        rng = seeds.generator(seed, "pace", site)
        drawn = {name: math.exp(rng.uniform(math.log(low), math.log(high))) for name, (low, high) in RANGES.items()}
        paces[site] = SitePace(**drawn)
    return Pace(seed=seed, sites=paces)
