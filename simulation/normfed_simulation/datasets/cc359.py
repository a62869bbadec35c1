"""Calgary-Campinas 359: healthy people on scanners of three vendors at two field strengths, which the file names tell.

Names and folders: emmetaobrien/calgary-campinas, and the 359 names of configs/assets/dataset/meta.csv in
neuro-ml/domain_shift_anatomy; the brain masks are the `silver standard` by which Zakazov 2021 measures the
shift between the six domains.
"""

from __future__ import annotations

from pathlib import Path

from normfed_client.imaging.bids import Problem
from normfed_client.imaging.participants import SEXES, Participant
from normfed_simulation.datasets.contents import Contents, Visit, subject
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.naming import by_person

NAME = (
    r"(?P<person>CC\d{4})_(?P<vendor>philips|siemens|ge)_(?P<field>15|3)_(?P<age>\d+)_(?P<sex>[MF])"
    r"(?P<kind>_ss|_staple)?\.nii(\.gz)?"
)
VENDORS = {"philips": "Philips", "siemens": "Siemens", "ge": "GE"}
TESLA = {"15": "1.5T", "3": "3T"}


class CC359(Downloaded):
    """See the module. A site is a vendor and a field strength, as in the published domain shifts."""

    cited = ("souza2018",)
    title = "Calgary-Campinas 359, healthy people on six kinds of scanner"
    licence = "CC BY-ND 4.0"
    access = "ask at sites.google.com/view/calgary-campinas-dataset; also portal.conp.ca"
    modalities = ("T1w",)
    layout = """Original/CC0001_philips_15_55_M.nii.gz and the like (person, vendor, field, age, sex), in any folders
        Silver-standard-machine-learning/CC0001_philips_15_55_M_ss.nii.gz, or ..._staple.nii.gz: the brain"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        pattern = "CC[0-9][0-9][0-9][0-9]_*_*_*_[MF].nii*"
        return any(any(root.glob("*/" * depth + pattern)) for depth in range(5))

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        found = Contents(root)
        for name, files in by_person(root, NAME).items():
            if "" not in files:
                found.problems.append(Problem(subject(name), "has a brain mask, but no scan: left out"))
                continue
            path, match = files[""]
            scanner = f"{VENDORS[match['vendor']]} {TESLA[match['field']]}"
            brain = next((files[kind][0] for kind in ("_ss", "_staple") if kind in files), None)
            if brain is None:
                found.problems.append(Problem(subject(name), "no brain mask (..._ss.nii.gz or ..._staple.nii.gz)"))
            age, sex = float(match["age"]), SEXES[match["sex"].lower()]
            person = Participant(subject(name), scanner.replace(" ", "-"), "control", age, sex, scanner)
            found.add(person, Visit({"T1w": path}, brain=brain))
        return found
