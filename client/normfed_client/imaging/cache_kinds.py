"""What kinds of things the cache holds: the folder of each, and what is in it."""

from __future__ import annotations

KINDS = {
    "scans": "scans prepared for studies, and their registrations",
    "templates": "the template at a study's voxel size",
    "datasets": "synthetic people; public datasets seen as BIDS, by links",
    "splits": "the same people divided among other sites, by links",
    "look-alikes": "made-up data of recipes",
}
