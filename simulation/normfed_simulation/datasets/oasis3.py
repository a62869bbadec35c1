"""OASIS-3: 1,378 people of one research centre, on several scanners, with and without dementia.

Layout: NrgXnat/oasis-scripts (``OAS30001_MR_d0129/anat2/sub-OAS30001_ses-d0129_T1w.nii.gz`` with a JSON beside, or
the BIDS version); the days count from a person's entry. Tables of OASIS3_data_files: OASIS3_demographics.csv
(OASISID, AgeatEntry, GENDER: 1 is male) and OASIS3_UDSb4_cdr.csv (OASISID, days_to_visit, CDRTOT): a person whose
clinical dementia rating is 0 at the visit nearest to the scan is control.
"""

from __future__ import annotations

import json
from pathlib import Path

from normfed_client.imaging.participants import Participant
from normfed_simulation.datasets.contents import Contents, Visit
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.naming import matches
from normfed_simulation.datasets.spreadsheet import read_table, unique
from normfed_simulation.datasets.values import sex, table, tell, years

NAME = (
    r"sub-(?P<person>OAS3\d{4})_sess?-d(?P<day>\d{4})(_acq-(?!TSE)\w+?)?(_run-\d+)?_(?P<kind>T1w|T2w|FLAIR)\.nii(\.gz)?"
)
DEMOGRAPHICS, RATINGS = "OASIS3_demographics.csv", "OASIS3_UDSb4_cdr.csv"
DAYS_A_YEAR = 365.25


class OASIS3(Downloaded):
    """See the module. Of each person the first session with a T1w is taken. One institution: split it by scanner."""

    cited = ("lamontagne2019",)
    title = "OASIS-3, ageing and dementia on several scanners of one institution"
    licence = "for research, by the OASIS data use terms"
    access = "ask at sites.wustl.edu/oasisbrains"
    modalities = ("T1w", "T2w", "FLAIR")
    one_site = True
    layout = f"""OAS30001_MR_d0129/anat2/sub-OAS30001_ses-d0129_T1w.nii.gz and the like, each with its .json
        or sub-OAS30001/ses-d0129/anat/sub-OAS30001_ses-d0129_T1w.nii.gz and the like
        {DEMOGRAPHICS} with OASISID, AgeatEntry, GENDER and {RATINGS} with OASISID, days_to_visit, CDRTOT"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        names = ("OAS3[0-9][0-9][0-9][0-9]_MR_d*", "sub-OAS3[0-9][0-9][0-9][0-9]")
        return any(any(root.glob("*/" * depth + name)) for name in names for depth in range(2))

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        path = table(root, DEMOGRAPHICS) or root / DEMOGRAPHICS
        people = unique(read_table(path, ("OASISID", "AgeatEntry", "GENDER")), "OASISID", path)
        ratings = _ratings(root)
        scans: dict[str, dict[int, dict[str, Path]]] = {}
        for file, match in matches(root, NAME):
            day = scans.setdefault(match["person"], {}).setdefault(int(match["day"]), {})
            day.setdefault(match["kind"], file)  # the first run
        first = {
            name: (min(days), days[min(days)])
            for name, sessions in scans.items()
            if (days := {day: images for day, images in sessions.items() if "T1w" in images})
        }
        found = Contents(root)
        tell(found, scans.keys() - first.keys(), "has no T1w: left out")
        tell(found, first.keys() - people.keys(), f"has scans, but is not in {path.name}: left out")
        tell(found, [n for n in first if n in people and not ratings.get(n)], f"is not in {RATINGS}, so has no group")
        scanners = {name: _scanner(images["T1w"]) for name, (_, images) in first.items()}
        tell(found, [name for name, told in scanners.items() if told is None], "has no JSON that tells the scanner")
        for name in sorted(first.keys() & people.keys()):
            on_day, images = first[name]
            entry = years(people[name]["AgeatEntry"])
            age = None if entry is None else round(entry + on_day / DAYS_A_YEAR, 1)
            group = _group(ratings.get(name, []), on_day)
            person = Participant(f"sub-{name}", "WashU", group, age, sex(people[name]["GENDER"]), scanners[name])
            found.add(person, Visit(images))
        return found


def _ratings(root: Path) -> dict[str, list[tuple[int, float]]]:
    """By person, the day and the rating of every visit."""
    path = table(root, RATINGS) or root / RATINGS
    found: dict[str, list[tuple[int, float]]] = {}
    for row in read_table(path, ("OASISID", "days_to_visit", "CDRTOT")):
        try:
            visit = int(row["days_to_visit"]), float(row["CDRTOT"])
        except ValueError:  # a visit without a rating
            continue
        found.setdefault(row["OASISID"], []).append(visit)
    return found


def _group(ratings: list[tuple[int, float]], day: int) -> str:
    """By the rating nearest in time; empty without any."""
    if not ratings:
        return ""
    _, rating = min(ratings, key=lambda visit: abs(visit[0] - day))
    return "control" if rating == 0 else "dementia"


def _scanner(scan: Path) -> str | None:
    """``TrioTim 3T``, by the JSON beside a scan, or in BIDS/ beside the scan's folder as XNAT has it."""
    name = scan.name.partition(".")[0] + ".json"
    for path in (scan.with_name(name), scan.parent.parent / "BIDS" / name):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            return f"{said['ManufacturersModelName']} {float(said['MagneticFieldStrength']):.2g}T"
        except (OSError, ValueError, LookupError, TypeError):  # none, or it does not say
            continue
    return None
