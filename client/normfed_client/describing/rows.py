"""What one person is in every table of the statistics. A row stays at the site; only sums of rows leave."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normfed_client.describing.raw import raw_shares
from normfed_client.describing.scanners import maker_and_field
from normfed_client.describing.tissue import three_classes
from normfed_client.hospital.site import Case, Site
from normfed_client.imaging.nifti import voxel_edges_mm
from normfed_common.statistics.tables import (
    ABSENT,
    HEALTHY,
    INTENSITY_BINS,
    LESION_ML,
    LIKENESSES,
    NO_MASK,
    NONE_FOUND,
    OVERLAPS,
    PATIENTS,
    TISSUES,
    UNKNOWN,
    VISITS,
    Table,
    by_name,
)
from normfed_common.study.roles import Role

Rows = dict[str, np.ndarray]  # a table's name to shares of its bins


def rows_of(site: Site, role: Role, visits: Sequence[Case]) -> Rows:
    """One person's rows: of intensities the mean of all visits, of registration the worst, else the first visit.

    Raises
    ------
    ScanError
        If a scan cannot be opened.
    """
    return _Person(site, role, visits).rows()


class _Person:
    def __init__(self, site: Site, role: Role, visits: Sequence[Case]) -> None:
        self.site, self.role, self.visits = site, role, visits
        self.tables = by_name(site.study)
        self.first = visits[0]
        self.who = self.first.visit.participant

    def rows(self) -> Rows:
        found = {name: np.zeros(len(table.bins)) for name, table in self.tables.items()}
        sex = self.who.sex or "unknown"
        age = self.tables[f"age-{sex}"]
        said = {
            "role": self.role,
            "group": HEALTHY if self.who.group in self.site.study.data.control_groups else PATIENTS,
            age.name: UNKNOWN if self.who.age is None else age.bins[age.bin_of(self.who.age)],
            "lesions": self._lesions(),
            **dict(zip(("vendor", "field"), self._scanner(), strict=True)),
        }
        for name, label in said.items():
            found[name][self.tables[name].bins.index(label)] = 1
        found["visits"][min(len(self.visits), VISITS) - 1] = 1
        found["registration"][self._registration()] = 1
        volume = self._ml("brain_voxels")
        self._add(found, "brain", volume)
        if "fluid" in found:
            for tissue, share in zip(TISSUES, self._tissues(), strict=True):
                self._add(found, tissue, None if share is None else share * volume)
        for modality in self.site.study.data.modalities:
            self._scans(found, modality)
        return found

    def _add(self, found: Rows, name: str, value: float | None) -> None:
        table = self.tables[name]
        found[name][table.bins.index(UNKNOWN) if value is None else table.bin_of(value)] = 1

    def _registration(self) -> int:
        """The bin of the worst visit: those with a mask of the brain are measured in another way than the others."""
        worst = min(self.visits, key=lambda case: float(case.entry.meta()["overlap"]))
        value = float(worst.entry.meta()["overlap"])
        if worst.visit.brain is not None:
            return int(np.searchsorted(OVERLAPS, value, side="right")) - 1
        return len(OVERLAPS) + max(int(np.searchsorted(LIKENESSES, value, side="right")) - 1, 0)

    def _ml(self, voxels: str) -> float:
        """The volume of so many voxels of the first visit, in mL: as it was scanned, not as it was registered."""
        meta, size = self.first.entry.meta(), self.site.study.preprocessing.voxel_size_mm
        stretch = abs(float(np.linalg.det(np.array(meta["to_reference"], float)[:3, :3])))
        return float(meta[voxels]) * size**3 * stretch / 1000

    def _lesions(self) -> str:
        if not self.site.recipe.lesions(self.first.visit):
            return NO_MASK
        volume = self._ml("lesion_voxels")
        table = self.tables["lesions"]
        if volume == 0:
            return NONE_FOUND
        return table.bins[2 + int(np.searchsorted(LESION_ML, volume, side="right")) - 1]

    def _scanner(self) -> tuple[str, str]:
        visit = self.first.visit
        return maker_and_field(visit, self.site.recipe.reference(visit))

    def _tissues(self) -> Sequence[float | None]:
        images, mask, present = self._opened(self.first)
        channel = self.site.study.data.modalities.index("T1w")
        if not present[channel]:
            return (None,) * len(TISSUES)
        return [float(share) for share in three_classes(np.asarray(images[channel])[mask])]

    def _scans(self, found: Rows, modality: str) -> None:
        channel = self.site.study.data.modalities.index(modality)
        voxel, intensity = self.tables[f"voxel-{modality}"], self.tables[f"intensity-{modality}"]
        having = [case for case in self.visits if modality in case.visit.images]
        if not having:
            found[voxel.name][voxel.bins.index(ABSENT)] = 1
            return
        found[voxel.name][voxel.bin_of(max(voxel_edges_mm(having[0].visit.images[modality])))] = 1
        raw = self.tables[f"raw-{modality}"]
        for case in having:
            images, mask, _ = self._opened(case)
            found[raw.name] += raw_shares(self.site, case, modality, raw) / len(having)
            found[intensity.name] += shares(np.asarray(images[channel])[mask], intensity) / len(having)

    def _opened(self, case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scan = case.scan()
        return scan.images, scan.mask, scan.present


def shares(values: np.ndarray, table: Table) -> np.ndarray:
    """The share of values in each bin of a table of equal bins; values beyond its ends are in the last ones."""
    low, step = table.edges[0], table.edges[1] - table.edges[0]
    places = np.clip(((values - low) / step).astype(int), 0, INTENSITY_BINS - 1)
    found: np.ndarray = np.bincount(places, minlength=INTENSITY_BINS) / len(values)
    return found
