"""Everything that a server receives in a whole run over three hospitals, and what an attacker makes of it.

The same run without the hospitals' rules, as a simulation, is the proof that the attacks work.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attacker import MINIMUM, RULES, SITES, study
from flwr.app import Message
from summaries import PER_SCAN

from normfed_client.answering import departure
from normfed_client.consent.making import manifest_of
from normfed_client.consent.manifest import Row, keep, kept
from normfed_client.hospital.folder import Hospital, open_hospital
from normfed_common.foundation import digests, seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.statistics.names import ARM
from normfed_common.statistics.tables import tables
from normfed_common.wire import messages
from normfed_common.wire.answers import Answer, Described, Figures
from normfed_common.wire.messages import decode_answer
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.runs.folder import begin
from normfed_simulation import run_folder as runs
from normfed_simulation.engines import local

pytestmark = pytest.mark.xdist_group("whole run")  # made once

TABLE = Path(__file__).parents[2] / "deploy" / "guides" / "what-leaves.md"
WRITE_VARIABLE = "NORMFED_WRITE_TABLE"


@dataclass
class Run:
    """A run, and every answer on its way to the server."""

    folder: Path
    answers: list[tuple[str, str, Answer, Arrays]] = field(default_factory=list)  # task, model, header, arrays
    hospitals: dict[str, Hospital] = field(default_factory=dict)
    rows: dict[tuple[str, str, str], Row] = field(default_factory=dict)  # of manifests, by task, model and array

    def take(self, request: Message, reply: Message) -> Message:
        """Keep an answer and pass it on."""
        asked = messages.asked(request)
        answer, arrays = decode_answer(reply)
        self.answers.append((asked.task, asked.arm, answer, arrays))
        if self.hospitals:
            hospital = self.hospitals[answer.site]
            departure.check(hospital, request, reply)
            manifest = kept(hospital, digests.of_json(json.loads(asked.study)))
            assert manifest is not None
            leaving = departure.declared(manifest, asked)
            self.rows |= {(asked.task, asked.arm, row.array): row for row in leaving.rows}
        return reply

    def people(self, site: str, arm: str) -> list[dict[str, Any]]:
        """The figures of a site's patients, which never leave it."""
        path = self.folder / "sites" / site / "people" / f"{arm}.json"
        found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
        return found


@pytest.fixture(scope="module")
def seen(cohort: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Run]:
    """The run under the hospitals' rules (True); as a simulation (False), with the models attacked there."""
    asked = {True: study(comparisons={"local": True, "repeats": 2}), False: study()}
    hospitals = Rehearsal(
        tmp_path_factory.mktemp("hospitals"), cohort, {name: (name,) for name in SITES}, settings=RULES
    )
    found = {}
    for ruled in (True, False):
        run = begin(asked[ruled], tmp_path_factory.mktemp("run"))
        custody = {site: open_hospital(hospitals.folder / site).custody("run") for site in SITES} if ruled else {}
        runs.write_site_configs(run, cohort, list(SITES), cache / "scans", "cpu", custody)
        found[ruled] = Run(run.folder)
        if ruled:  # what leaves is held against what each hospital would have been shown
            found[ruled].hospitals = {site: open_hospital(hospitals.folder / site) for site in SITES}
            for hospital in found[ruled].hospitals.values():
                keep(hospital, manifest_of(hospital, run.study))
        before = dict(os.environ)
        local.run(run.folder, run.sites_file, len(SITES), 0, found[ruled].take)
        os.environ.clear()
        os.environ.update(before)
        assert run.finished
        counting = begin(asked[ruled], tmp_path_factory.mktemp("statistics"), {"statistics": True})
        runs.write_site_configs(counting, cohort, list(SITES), cache / "scans", "cpu", custody)
        local.run(counting.folder, counting.sites_file, len(SITES), 0, found[ruled].take)
        os.environ.clear()
        os.environ.update(before)
        assert counting.finished
    return found


def numbers(run: Run) -> np.ndarray:
    """Every number that the server received, and every difference of two that bear one name, sorted."""
    by_name: dict[tuple[str, str, tuple[int, ...]], list[np.ndarray]] = {}
    for task, _, header, arrays in run.answers:
        for name, array in arrays.items():
            by_name.setdefault((task, header.site + name, array.shape), []).append(array.astype(float).ravel())
    found = [np.concatenate(values) for values in by_name.values()]
    for values in by_name.values():
        if values[0].size < 20_000:
            found += [a - b for i, a in enumerate(values) for b in values[:i]]
    return np.unique(np.abs(np.concatenate(found)))


def secrets(run: Run) -> dict[tuple[str, str, str, str], float]:
    """Figures and scores of single patients, by site, model, person and figure; small fractions are nobody's secret."""
    found = {}
    for path in sorted(run.folder.glob("sites/*/people/*.json")):
        for row in json.loads(path.read_text()):
            for name in (*PER_SCAN, "subject_score"):
                value = row.get(name)
                if value is not None and not any(abs(value * n - round(value * n)) < 1e-9 for n in range(1, 61)):
                    found[path.parts[-3], path.stem, row["name"], name] = float(value)
    return found


def told(run: Run, tolerance: float = 1e-9) -> set[str]:
    """Which figures of single patients are among the numbers that the server received."""
    haystack = numbers(run)
    names = set()
    for (_, _, _, name), value in secrets(run).items():
        place = np.searchsorted(haystack, value)
        near = haystack[max(place - 1, 0) : place + 1]
        if len(near) and np.abs(near - value).min() <= tolerance * value:
            names.add(name)
    return names


def test_no_number_that_leaves_is_a_figure_of_one_patient(seen: dict[bool, Run]) -> None:
    run = seen[True]
    assert len(secrets(run)) > 500
    assert told(run) == set()
    # The search finds what is there to be found: one patient's figure, and two sums that differ by one patient.
    (site, arm, _, name), value = next(iter(secrets(run).items()))
    header = Answer(site=site, payload=Figures(groups=()))
    task, model = "evaluate.measure", "planted"
    planted = Run(run.folder, [*run.answers, (task, arm, header, {"figure": np.array([value])})])
    assert told(planted) == {name}
    sums = [(task, model, header, {"sum": np.array([total])}) for total in (3.21, 3.21 + value)]
    assert told(Run(run.folder, [*run.answers, *sums])) == {name}


def solved(run: Run, site: str, seed: int) -> float:
    """The greatest error with which least squares over the resamplings, drawn anew from the study's seed, gives every
    patient's figures; infinite where nothing was resampled."""
    for task, arm, header, arrays in run.answers:
        if (task, arm, header.site) != ("evaluate.measure", "federated", site):
            continue
        resampled = arrays["bootstrap"][0]  # everybody: (metrics, 2, resamplings)
        if resampled.shape[-1] == 0:
            return float("inf")
        rows = run.people(site, arm)
        draws = seeds.generator(seed, "bootstrap", site).multinomial(
            len(rows), np.full(len(rows), 1 / len(rows)), resampled.shape[-1]
        )
        metric = PER_SCAN.index("auroc")
        estimate = np.linalg.lstsq(draws.astype(float), resampled[metric, 1], rcond=None)[0]
        return float(np.abs(estimate - [row["auroc"] for row in rows]).max())
    raise AssertionError("no figures came")


def test_figures_of_single_patients_cannot_be_solved_for(seen: dict[bool, Run]) -> None:
    for site in SITES:
        assert solved(seen[False], site, study().seed) < 1e-6  # the attack works on a simulation
        assert solved(seen[True], site, study().seed) == float("inf")  # hospitals send no resampling


def test_no_count_of_people_is_below_the_minimum(seen: dict[bool, Run]) -> None:
    smallest = {}
    for ruled, run in seen.items():
        counts = [
            arrays[name]
            for _, _, _, arrays in run.answers
            for name in ("held_out_people", "normal_people", "patients")
            if name in arrays
        ]
        assert len(counts) > 10
        smallest[ruled] = min(int(array[array > 0].min()) for array in counts if (array > 0).any())
    assert smallest[False] == 1
    assert smallest[True] >= MINIMUM


def test_every_mean_is_over_the_minimum_of_people(seen: dict[bool, Run]) -> None:
    for task, _, header, arrays in seen[True].answers:
        if "moments" in arrays:
            people = arrays["moments"][..., 0]
            assert (people[people > 0] >= MINIMUM).all(), (task, header.site)
        for count in (header.subjects, *getattr(header.payload, "counts", {}).values()):
            assert count in (0, -1) or count >= MINIMUM


def test_no_bin_counts_voxels_of_few_people(seen: dict[bool, Run]) -> None:
    """A bin of fewer voxels than the minimum would be one of fewer people."""
    smallest = {}
    for ruled, run in seen.items():
        told = [a[n] for t, _, _, a in run.answers if t == "evaluate.count" for n in ("normal", "lesion", "held_out")]
        smallest[ruled] = min(int(array[array > 0].min()) for array in told if array.any())
    assert smallest[False] == 1
    assert smallest[True] >= MINIMUM


def test_nothing_is_told_of_a_voxel_that_few_people_have(seen: dict[bool, Run]) -> None:
    sums = [arrays for task, arm, _, arrays in seen[True].answers if task == "train.sums" and arm != ARM]
    assert sums
    for arrays in sums:
        assert (arrays["count"][arrays["count"] > 0] >= MINIMUM).all()


def test_no_cell_of_the_statistics_is_of_few_people(seen: dict[bool, Run]) -> None:
    smallest = {}
    for ruled, run in seen.items():
        sums = [arrays for _, arm, _, arrays in run.answers if arm == ARM]
        assert len(sums) == len(SITES)
        counts = [arrays[table.name] for arrays in sums for table in tables(study()) if not table.shares]
        smallest[ruled] = min(float(array[array > 0].min()) for array in counts if array.any())
    assert smallest[False] < MINIMUM <= smallest[True]


def test_the_servers_figures_are_those_of_everybody_all_the_same(seen: dict[bool, Run]) -> None:
    run = seen[True]
    metrics = json.loads((run.folder / "metrics.json").read_text())
    values = [row["auroc"] for site in SITES for row in run.people(site, "federated")]
    found = metrics["evaluation"]["federated"]["all"]["auroc"]
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["sd"] == pytest.approx(np.std(values, ddof=1))
    low, high = found["ci95"]
    assert low < found["mean"] < high
    merged = metrics["evaluation"]["federated"]["merged"]["auroc"]
    assert merged["low"] <= merged["value"] <= merged["high"]
    exact = json.loads((seen[False].folder / "metrics.json").read_text())["evaluation"]["flair-intensity"]["merged"]
    told = metrics["evaluation"]["flair-intensity"]["merged"]  # nothing is learnt: the same maps
    for metric in ("auroc", "auprc"):
        assert told[metric]["low"] <= exact[metric]["low"] + 1e-9
        assert exact[metric]["high"] <= told[metric]["high"] + 1e-9
    difference = metrics["differences"]["atlas"]["all"]["auroc"]
    assert difference["ci95"][0] < difference["mean"] < difference["ci95"][1]


def table(run: Run) -> str:
    """Every array that left a hospital, of a model of each kind: shape, bytes, over how many people at each site."""
    rows: dict[tuple[str, str, str, str, str, int], dict[str, str]] = {}
    held_out = {h.site: h.told(Described).counts["held_out"] for t, _, h, _ in run.answers if t == "query.describe"}
    for task, arm, header, arrays in run.answers:
        if arm not in ("federated", "atlas", ARM):
            continue
        tested = task.startswith("evaluate")
        for name, array in arrays.items():
            if not array.size:
                continue
            about = run.rows[task, arm, name].about
            people = {"held out": f"{held_out[header.site]}", "tested": f"{header.subjects}"}
            number = people.get(
                about, f"{header.subjects}, {held_out[header.site]}" if tested else f"{header.subjects}"
            )
            key = (task, arm, name, f"{array.dtype} {array.shape}", about, array.nbytes)
            rows.setdefault(key, {})[header.site] = number
    lines = [
        "| task | model | array | what it is | type and shape | bytes | about people | " + " | ".join(SITES) + " |",
        "|---|---|---|---|---|---|---|" + "---|" * len(SITES),
    ]
    for (task, arm, name, kind, about, size), people in rows.items():
        meaning = run.rows[task, arm, name].what
        cells = [task, arm, f"`{name}`", meaning, kind, f"{size:,}", about, *(people.get(site, "–") for site in SITES)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def test_the_guide_says_what_leaves_a_hospital(seen: dict[bool, Run]) -> None:
    """The table in the guide is what came over the wire; write it anew with NORMFED_WRITE_TABLE=1."""
    found = table(seen[True])
    text = TABLE.read_text()
    head, mark, _ = text.partition("| task |")
    if os.environ.get(WRITE_VARIABLE):
        TABLE.write_text(head + found + "\n")
    assert mark
    assert TABLE.read_text() == head + found + "\n"
