"""Evaluation at the site: maps, per-person figures and scans stay; counts and sums over people leave.

Three steps, since edges and threshold come from all sites: scores and their range; coarse counts; measurement.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normfed_client.imaging.mapping import write_map
from normfed_client.site import Scan, Site
from normfed_common import seeds
from normfed_common.arrays import Arrays
from normfed_common.errors import SiteCode, SiteError
from normfed_common.files import write_json
from normfed_common.metrics import histograms, subjects
from normfed_common.metrics.curves import curve, region_weights, voxel_metrics
from normfed_common.metrics.segmentation import cluster_metrics, dice, ranked_clusters, surface_dice
from normfed_common.metrics.summary import Summary, reportable_groups, summarise
from normfed_common.models.base import NormativeModel


@dataclass(frozen=True)
class Measured:
    """What `measure` gives: sums over the site's people, and counts between the common edges."""

    summary: Summary
    normal: np.ndarray
    lesion: np.ndarray
    regions: np.ndarray
    normal_people: np.ndarray
    patients: np.ndarray
    image_auroc: float


class Evaluation:
    """One model's evaluation at one site; scores wait on the site's disk between the steps."""

    def __init__(self, site: Site, arm: str) -> None:
        self.site, self.arm = site, arm
        self.folder = site.config.output / "scores" / arm
        people = {scan.visit.participant.subject for scan in site.test}
        if not people:
            raise SiteError(SiteCode.NO_TEST_SUBJECTS)
        if len(people) < site.study.federation.minimum_cohort:
            raise SiteError(SiteCode.COHORT_TOO_SMALL, f"{len(people)} people to test on")

    def score(self, model: NormativeModel) -> tuple[float, float]:
        """Score everybody who tests or is held out; gives the range of the scores."""
        self._personalise(model)
        self.folder.mkdir(parents=True, exist_ok=True)
        low, high = np.inf, -np.inf
        for scan in (*self.site.test, *self.site.held_out):
            volume = scan.entry.volume()
            scores = self._map(model, scan)[volume.mask]
            np.save(self._path(scan), scores)
            low, high = min(low, float(scores.min())), max(high, float(scores.max()))
        return low, high

    def count(self, low: float, high: float) -> Arrays:
        """Coarse counts over [low, high]: voxels of patients outside and inside lesions, and of normal people."""
        totals = {name: np.zeros(histograms.COARSE_BINS, np.int64) for name in ("normal", "lesion", "held_out")}
        for scan in self.site.test:
            scores, lesion = self._scores(scan), self._lesion(scan)
            totals["normal"] += histograms.coarse_counts(scores[~lesion], low, high)
            totals["lesion"] += histograms.coarse_counts(scores[lesion], low, high)
        for scan in self._reportable_held_out():
            where = self._normal_voxels(scan)
            totals["held_out"] += histograms.coarse_counts(self._scores(scan)[where], low, high)
        people = [self._person(scan) for scan in self._reportable_held_out()]
        totals["held_out_people"] = histograms.coarse_counts(np.array(people), low, high)
        return totals

    def measure(self, edges: np.ndarray, threshold: float, held_out_people: np.ndarray, maps: bool) -> Measured:
        """All figures of the site.

        Parameters
        ----------
        edges
            Ascending, the same at every site.
        threshold
            A voxel at or above it is called abnormal.
        held_out_people
            Counts (len(edges) + 1,) of all sites' normal people's scores: what conformal p-values compare with.
        maps
            Whether to write the anomaly maps as NIfTI into the site's output folder.
        """
        size = len(edges) + 1
        normal, lesion, regions = np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size)
        rows, kinds = [], []
        for scan in self.site.test:
            anomaly_map, mask, truth = self._grid(scan)
            inside, found = anomaly_map[mask], truth[mask]
            normal += histograms.count(inside[~found], edges)
            lesion += histograms.count(inside[found], edges)
            regions += histograms.count(inside, edges, region_weights(truth)[mask])
            row = self._row(anomaly_map, mask, truth, threshold)
            row["subject_score"] = self._person(scan)
            row["conformal_p"] = subjects.conformal_p(row["subject_score"], edges, held_out_people)
            rows.append(row)
            kinds.append(scan.kind)
            if maps:
                write_map(anomaly_map, scan.visit, scan.entry, self.site.recipe, self.site.config.output / "maps")
        self._keep(rows)
        healthy = np.array([self._person(scan) for scan in self._reportable_held_out()])
        ill = np.array([row["subject_score"] for row in rows])
        shutil.rmtree(self.folder, ignore_errors=True)
        return Measured(
            summary=self._summarise(rows, kinds),
            normal=normal,
            lesion=lesion,
            regions=regions,
            normal_people=histograms.count(healthy, edges),
            patients=histograms.count(ill, edges),
            image_auroc=subjects.image_auroc(healthy, ill),
        )

    def rank(self, model: NormativeModel) -> Summary:
        """Threshold-free figures only, in one step: how a model of another site does here."""
        self._personalise(model)
        rows, kinds = [], []
        for scan in self.site.test:
            volume = scan.entry.volume()
            rows.append(voxel_metrics(curve(self._map(model, scan), scan.entry.lesion(), volume.mask)))
            kinds.append(scan.kind)
        return self._summarise(rows, kinds)

    def _summarise(self, rows: list[dict[str, float]], kinds: list[str]) -> Summary:
        study = self.site.study
        groups = reportable_groups(kinds, study.federation.minimum_cohort)
        return summarise(rows, kinds, groups, study.evaluation.bootstrap, study.seed, self.site.config.name)

    def _row(self, anomaly_map: np.ndarray, mask: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
        evaluation, size = self.site.study.evaluation, self.site.study.preprocessing.voxel_size_mm
        abnormal = mask & (anomaly_map >= threshold)
        clusters = ranked_clusters(anomaly_map, mask, threshold, round(evaluation.minimum_cluster_mm3 / size**3))
        return {
            **voxel_metrics(curve(anomaly_map, truth, mask)),
            "dice": dice(abnormal, truth),
            "surface_dice": surface_dice(abnormal, truth, size, evaluation.surface_tolerance_mm),
            **cluster_metrics(*clusters, truth),
        }

    def _reportable_held_out(self) -> list[Scan]:
        """Held-out people, or nobody where they are fewer than the minimum cohort."""
        people = {scan.visit.participant.subject for scan in self.site.held_out}
        return self.site.held_out if len(people) >= self.site.study.federation.minimum_cohort else []

    def _personalise(self, model: NormativeModel) -> None:
        try:
            cohort = self.site.training_cohort()
        except SiteError:
            return  # a site that only tests has nobody to learn from, and the model copes
        model.personalise(cohort, seeds.generator(self.site.study.seed, "personalise", self.site.config.name))

    def _map(self, model: NormativeModel, scan: Scan) -> np.ndarray:
        rng = seeds.generator(self.site.study.seed, "score", scan.visit.name)
        anomaly_map = model.score(scan.entry.volume(), rng)
        if not np.isfinite(anomaly_map).all():
            raise SiteError(SiteCode.NOT_FINITE, f"{scan.visit.name}: the anomaly map of {self.arm} is not finite")
        return anomaly_map

    def _grid(self, scan: Scan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mask = scan.entry.volume().mask
        anomaly_map = np.zeros(mask.shape, np.float32)
        anomaly_map[mask] = self._scores(scan)
        return anomaly_map, mask, scan.entry.lesion()

    def _scores(self, scan: Scan) -> np.ndarray:
        loaded: np.ndarray = np.load(self._path(scan))
        return loaded

    def _lesion(self, scan: Scan) -> np.ndarray:
        return scan.entry.lesion()[scan.entry.volume().mask]

    def _normal_voxels(self, scan: Scan) -> np.ndarray:
        volume = scan.entry.volume()
        normal = np.zeros(volume.mask.size, bool)
        normal[volume.normal_index] = True
        return normal.reshape(volume.mask.shape)[volume.mask]

    def _person(self, scan: Scan) -> float:
        return float(np.quantile(self._scores(scan), subjects.SUBJECT_QUANTILE))

    def _path(self, scan: Scan) -> Path:
        return self.folder / f"{scan.visit.name}.npy"

    def _keep(self, rows: list[dict[str, float]]) -> None:
        people = [
            {"name": scan.visit.name, "kind": scan.kind, **row} for scan, row in zip(self.site.test, rows, strict=True)
        ]
        write_json(self.site.config.output / "people" / f"{self.arm}.json", people)
