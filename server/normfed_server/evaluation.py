"""Evaluate one arm at the sites, in three steps, from sums and counts alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Message

from normfed_common import arrays as named
from normfed_common.arrays import Arrays
from normfed_common.errors import RunError, SiteCode
from normfed_common.metrics import histograms, subjects
from normfed_common.metrics.summary import Summary
from normfed_common.wire.evaluation import COUNTS, to_summary
from normfed_common.wire.messages import Task, decode_answer, requests
from normfed_server.asking import Asker
from normfed_server.checkpoints import Progress
from normfed_server.events import EventLog
from normfed_server.letterhead import Letterhead
from normfed_server.plan import Arm

WITHHELD = (SiteCode.COHORT_TOO_SMALL, SiteCode.NO_TEST_SUBJECTS)


@dataclass
class ArmResult:
    """An arm's figures.

    Parameters
    ----------
    summaries
        Per site.
    counts
        Per fully evaluated site: normal, lesion, regions (b,), normal_people, patients.
    image_auroc
        Per site where it is defined.
    threshold
        The voxel score that the study's specificity gives on held-out normal people; NaN without any.
    missed
        Sites that should have given figures and did not, and why.
    """

    summaries: dict[str, Summary] = field(default_factory=dict)
    counts: dict[str, Arrays] = field(default_factory=dict)
    image_auroc: dict[str, float] = field(default_factory=dict)
    threshold: float = float("nan")
    threshold_from: str = ""
    missed: dict[str, str] = field(default_factory=dict)

    def merged(self) -> dict[str, histograms.Bracketed]:
        """Voxel metrics over all sites' scans together."""
        if not self.counts:
            return {}
        total = named.add(list(self.counts.values()))
        return histograms.merged_metrics(total["normal"], total["lesion"], total["regions"])

    def image_auroc_all(self) -> float:
        """Image-level AUROC over all sites' people."""
        if not self.counts:
            return float("nan")
        total = named.add(list(self.counts.values()))
        return subjects.image_auroc_from_counts(total["normal_people"], total["patients"])

    def exceedance_error(self) -> float:
        """How far p-values of one site's normal people against the other sites' are from uniform."""
        return subjects.exceedance_error({site: counts["normal_people"] for site, counts in self.counts.items()})


class Evaluator:
    """Runs the three steps for one arm."""

    def __init__(
        self,
        arm: Arm,
        progress: Progress,
        letterhead: Letterhead,
        nodes: Mapping[str, int],
        asker: Asker,
        events: EventLog,
    ) -> None:
        self.arm, self.progress, self.letterhead, self.nodes = arm, progress, letterhead, nodes
        self.study = letterhead.study
        self.asker, self.events = asker, events

    def run(self) -> ArmResult:
        """All figures of the arm."""
        result = ArmResult()
        ranking = {site for site, detail in self.arm.evaluate.items() if detail == "ranking"}
        full = set(self.arm.evaluate) - ranking
        messages: dict[str, Message] = {}
        for sites, detail in ((full, "full"), (ranking, "ranking")):
            for served, model in self._served(sites):
                messages |= self._requests("evaluate.score", served, model, detail=detail)
        answers = self.asker.ask(messages, WITHHELD, result.missed)
        first = {site: answer for site, answer in answers.items() if not answer.has_error()}
        for site in sorted(ranking & set(first)):
            result.summaries[site] = self._summary(*decode_answer(first[site]))
        full &= set(first)
        if full:
            self._full(result, {site: decode_answer(first[site])[1]["range"] for site in sorted(full)})
        for site, why in sorted(result.missed.items()):
            self.events.say("missing", arm=self.arm.name, site=site, round=0, outcome="no figures", why=why)
        if not result.summaries:
            raise RunError(f"{self.arm.name}: no site gave figures. {result.missed or ''} Mend that, and resume.")
        self.events.say("evaluated", arm=self.arm.name, sites=sorted(result.summaries))
        return result

    def _full(self, result: ArmResult, ranges: Mapping[str, np.ndarray]) -> None:
        low = float(min(r[0] for r in ranges.values()))
        high = float(max(r[1] for r in ranges.values()))
        messages = self._requests("evaluate.count", ranges, low=low, high=high)
        counted = self.asker.answers(messages, missed=result.missed)
        coarse = named.add(decode_answer(answer)[1] for _, answer in counted)
        bins, specificity = self.study.evaluation.bins, self.study.evaluation.specificity
        edges = histograms.quantile_edges(coarse["normal"], coarse["lesion"], low, high, bins)
        result.threshold = histograms.quantile(coarse["held_out"], low, high, specificity)
        result.threshold_from = "held-out normal people"
        if not np.isfinite(result.threshold):
            # Nobody is held out: tissue outside lesions of the very patients; said so wherever Dice is shown.
            result.threshold = histograms.quantile(coarse["normal"], low, high, specificity)
            result.threshold_from = "the patients' own lesion-free tissue"
        people = _rebin(coarse["held_out_people"], low, high, edges)
        arrays = {"edges": edges, "held_out_people": people}
        there = [site for site in ranges if site not in result.missed]
        messages = self._requests("evaluate.measure", there, arrays, threshold=result.threshold, maps=self.arm.maps)
        for site, reply in self.asker.ask(messages, missed=result.missed).items():
            answer, found = decode_answer(reply)
            result.summaries[site] = self._summary(answer, found)
            result.counts[site] = {name: found[name] for name in COUNTS}
            if "image_auroc" in found:
                result.image_auroc[site] = float(found["image_auroc"])

    def _served(self, sites: Iterable[str]) -> list[tuple[list[str], Arrays]]:
        """Sites by the model that they are served, so that those of one model share a message."""
        groups: dict[int, tuple[list[str], Arrays]] = {}
        for site in sorted(sites):
            model = self.progress.model_of(site)
            groups.setdefault(id(model), ([], model))[0].append(site)
        return list(groups.values())

    def _summary(self, answer: Any, arrays: Arrays) -> Summary:
        return to_summary(answer.labels, arrays, self.study.evaluation.bootstrap)

    def _requests(
        self, task: Task, sites: Iterable[str], arrays: Arrays | None = None, **fields: Any
    ) -> dict[str, Message]:
        header = self.letterhead.request(self.arm, **fields)
        return requests(task, {site: self.nodes[site] for site in sites}, header, arrays or {})


def _rebin(coarse: np.ndarray, low: float, high: float, edges: np.ndarray) -> np.ndarray:
    """Coarse counts as counts between edges, each coarse bin at its centre."""
    grid = np.linspace(low, high if high > low else low + 1, histograms.COARSE_BINS + 1)
    centres = (grid[:-1] + grid[1:]) / 2
    return np.bincount(histograms.bin_of(centres, edges), coarse, minlength=len(edges) + 1).astype(np.int64)


def save(path: Path, result: ArmResult) -> None:
    """Write an arm's figures as one safetensors file, atomically."""
    arrays: Arrays = {}
    for site, summary in result.summaries.items():
        arrays[f"{site}/moments"], arrays[f"{site}/bootstrap"] = summary.moments, summary.bootstrap
    for site, counts in result.counts.items():
        arrays |= {f"{site}/{name}": value for name, value in counts.items()}
    header = {
        "groups": {site: summary.groups for site, summary in result.summaries.items()},
        "image_auroc": result.image_auroc,
        "threshold": result.threshold if np.isfinite(result.threshold) else None,
        "threshold_from": result.threshold_from,
        "missed": result.missed,
    }
    named.save(path, arrays, header)


def load(path: Path) -> ArmResult | None:
    """Read an arm's figures; None where there are none yet.

    Raises
    ------
    DamagedError
        If they are damaged.
    """
    if not path.exists():
        return None
    arrays, header = named.read(path)
    result = ArmResult(
        image_auroc=header["image_auroc"], threshold_from=header["threshold_from"], missed=header["missed"]
    )
    result.threshold = float("nan") if header["threshold"] is None else header["threshold"]
    for site, groups in header["groups"].items():
        result.summaries[site] = Summary(tuple(groups), arrays[f"{site}/moments"], arrays[f"{site}/bootstrap"])
        if f"{site}/normal" in arrays:
            result.counts[site] = {name: arrays[f"{site}/{name}"] for name in COUNTS}
    return result
