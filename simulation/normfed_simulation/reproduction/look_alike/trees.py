"""The layouts of public datasets as their readers know them, filled with synthetic people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import cycle, islice
from pathlib import Path

from normfed_common.foundation.files import write_text
from normfed_simulation.reproduction.look_alike import diffusion_maps
from normfed_simulation.reproduction.look_alike.people import MARK, WARNING, Made, everybody, place, small

VERSION = 2  # raise it when a layout is filled in another way: those in caches are no longer found
People = Mapping[str, list[Made]]


def make(kind: str, root: Path) -> Path:
    """Fill ``root`` with the look-alike of that name, unless it is there already; the mark is written last."""
    if not (root / MARK).is_file():
        TREES[kind](root, everybody())
        write_text(root / MARK, WARNING)
    return root


def ixi(root: Path, people: People) -> None:
    """Three hospitals of three people, T1 and T2, with a sheet of ages and sexes."""
    rows = ['IXI_ID,AGE,"SEX_ID (1=m, 2=f)"']
    sites = [site for site in ("Guys", "HH", "IOP") for _ in range(3)]
    for number, (site, made) in enumerate(zip(sites, cycle(people["control"])), start=2):
        name = f"IXI{number:03d}-{site}-{800 + number:04d}"
        place({root / "IXI-T1" / f"{name}-T1.nii.gz": made.t1, root / "IXI-T2" / f"{name}-T2.nii.gz": made.flair})
        rows.append(f"{number},{30 + 4 * number},{1 + number % 2}")
    write_text(root / "IXI.csv", "\n".join(rows) + "\n")


def wmh(root: Path, people: People) -> None:
    """One training person of each hospital."""
    cases = ("Utrecht/0", "Singapore/50", "Amsterdam/GE3T/100")
    for case, made in zip(cases, people["WMH"], strict=True):
        folder = root / "training" / case
        place({folder / "pre" / "T1.nii.gz": made.t1, folder / "pre" / "FLAIR.nii.gz": made.flair})
        place({folder / "wmh.nii.gz": _lesion(made)})


def cc359(root: Path, people: People) -> None:
    """Two people on each scanner, with their brain masks."""
    number = 0
    for vendor in ("philips", "siemens", "ge"):
        for field in ("15", "3"):
            for _ in range(2):
                made = people["control"][number % len(people["control"])]
                number += 1
                name = f"CC{number:04d}_{vendor}_{field}_{30 + number}_{'MF'[number % 2]}"
                small(made.t1, root / "Original" / f"{name}.nii.gz")
                small(made.brain, root / "Silver-standard-machine-learning" / f"{name}_ss.nii.gz")


def brats(root: Path, people: People) -> None:
    """BraTS 2021: two institutions, in the partition file of FeTS 2022."""
    _gliomas(root, people, "BraTS2021_", (1, 1, 18))


def fets(root: Path, people: People) -> None:
    """Three institutions of three people."""
    _gliomas(root, people, "FeTS2022_", (1, 1, 1, 4, 4, 4, 18, 18, 18))


def mslub(root: Path, people: People) -> None:
    """Two people."""
    for number, made in enumerate(people["WMH"][:2], start=1):
        stem = str(root / f"patient{number}" / f"patient{number}_")
        scans = {"FLAIR": made.flair, "T1W": made.t1, "T2W": made.flair}
        place({Path(f"{stem}{kind}.nii.gz"): source for kind, source in scans.items()})
        place({Path(f"{stem}brainmask.nii.gz"): made.brain, Path(f"{stem}consensus_gt.nii.gz"): _lesion(made)})


def atlas(root: Path, people: People) -> None:
    """A person of each of two cohorts."""
    for number, made in enumerate(people["tumour"][:2], start=1):
        name, space = f"sub-r{number:03d}s001", "ses-1_space-MNI152NLin2009aSym"
        stem = root / "Training" / f"R{number:03d}" / name / "ses-1" / "anat" / f"{name}_{space}"
        place({Path(f"{stem}_T1w.nii.gz"): made.t1, Path(f"{stem}_label-L_desc-T1lesion_mask.nii.gz"): _lesion(made)})


def ppmi(root: Path, people: People) -> None:
    """Two institutions of three controls and two people with Parkinson's disease, with maps of the diffusion tensor."""
    rows, number = ["PATNO,SITE,COHORT,age,SEX"], 3100
    for site, first in (("10", 0), ("23", 3)):
        ill = people["FCD"] if first == 0 else people["WMH"][:2]
        for cohort, made in [*((2, made) for made in people["control"][first : first + 3]), *((1, m) for m in ill)]:
            number += 1
            folder = root / "PPMI" / str(number) / "MPRAGE_GRAPPA" / "2011-01-20_11_22_33.0" / f"I{number}"
            place({folder / f"PPMI_{number}_MR_MPRAGE_GRAPPA_Br_20110120112233_S1_I{number}.nii.gz": made.t1})
            stem = root / "derivatives" / "dti" / f"sub-{number}" / "dwi" / f"sub-{number}_space-T1w_model-tensor"
            diffusion_maps.write(made.t1, made.brain, stem, parkinson=cohort == 1)
            rows.append(f"{number},{site},{cohort},{50 + number % 20},{number % 2}")
    write_text(root / "PPMI_Curated_Data_Cut_Public_20240129.csv", "\n".join(rows) + "\n")


def bids_controls(root: Path, people: People) -> None:
    """Healthy people of one hospital with T1w, T2w, FLAIR and PET."""
    _bids(root, {"Lyon": [("control", made) for made in islice(people["control"], 6)]})


def bids_epilepsy(root: Path, people: People) -> None:
    """Two people with epilepsy, T1w and PET, and the lesion that surgery took out."""
    _bids(root, {"surgery": [("FCD", made) for made in people["FCD"]]})


def _bids(root: Path, sites: Mapping[str, list[tuple[str, Made]]]) -> None:
    rows = ["participant_id\tsite\tage\tsex\tgroup"]
    for site, members in sites.items():
        for number, (group, made) in enumerate(members, start=1):
            name = f"sub-{site}{number:02d}"
            rows.append(f"{name}\t{site}\t{30 + number}\t{'MF'[number % 2]}\t{group}")
            anat, masks = root / name / "anat", root / "derivatives" / "masks" / name / "anat"
            place({anat / f"{name}_{kind}.nii.gz": made.flair for kind in ("T2w", "FLAIR")})
            place({anat / f"{name}_T1w.nii.gz": made.t1, root / name / "pet" / f"{name}_pet.nii.gz": made.flair})
            if made.lesion is not None:
                place({masks / f"{name}_space-T1w_label-{group}_mask.nii.gz": made.lesion})
    write_text(root / "participants.tsv", "\n".join(rows) + "\n")


def _gliomas(root: Path, people: People, prefix: str, institutions: tuple[int, ...]) -> None:
    rows = ["Partition_ID,Subject_ID"]
    for number, (institution, made) in enumerate(zip(institutions, cycle(people["tumour"]))):
        name = f"{prefix}{number:05d}"
        scans = {"t1": made.t1, "t1ce": made.t1, "t2": made.flair, "flair": made.flair, "seg": _lesion(made)}
        place({root / name / f"{name}_{kind}.nii.gz": source for kind, source in scans.items()})
        rows.append(f"{institution},FeTS2022_{number:05d}")
    write_text(root / "partitioning_1.csv", "\n".join(rows) + "\n")


def _lesion(made: Made) -> Path:
    assert made.lesion is not None
    return made.lesion


TREES: dict[str, Callable[[Path, People], None]] = {
    "ixi": ixi,
    "wmh": wmh,
    "cc359": cc359,
    "brats": brats,
    "fets": fets,
    "mslub": mslub,
    "atlas": atlas,
    "ppmi": ppmi,
    "bids-controls": bids_controls,
    "bids-epilepsy": bids_epilepsy,
}
