"""Play a study on a rehearsal and on the simulation, undisturbed or not, and compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from normfed_client.hospital.folder import Hospital, open_hospital
from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.cache import default_root
from normfed_client.imaging.lots import Lots
from normfed_client.imaging.preprocessing import Recipe
from normfed_client.operation import looking
from normfed_common.foundation.errors import StudyError
from normfed_common.studies import load_study, resolve
from normfed_common.study.changes import changed
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import NONE
from normfed_deploy.faults import chains, outcomes
from normfed_deploy.faults.scenarios import UNDISTURBED, Scenario, scenarios
from normfed_deploy.rehearsal import Rehearsal, floors
from normfed_deploy.tiny import PRIVATE, STUDY
from normfed_server.runs.folder import begin
from normfed_server.runs.starting import check_for_hospitals
from normfed_server.state.ledger import State
from normfed_simulation import conditions, experiment, study_data
from normfed_simulation.datasets.recognition import as_bids
from normfed_simulation.watcher import Silent

WITHIN_S = 7200.0
CACHED = "cache"
MOST_TRAIN = Lots(lambda _person, _purpose: 1.0, 0.0, 0.0)  # as many as any hospital's own division lets train


def prepared(
    study: Path | None, data: Path | None, private: bool = False, changes: Mapping[str, Any] | None = None
) -> tuple[StudyConfig, Path]:
    """The study, and the dataset that the hospitals share out; synthetic people are made where it names them.

    Parameters
    ----------
    private
        Of the two studies for those who have none, that with noise and secure sums.
    changes
        Other values of the study, see `changed`.

    Raises
    ------
    UserError
        If no hospitals of this dataset could run the study, however they divide their people.
    """
    if study is not None:
        chosen = load_study(study, **(changes or {}))
    else:
        chosen = resolve(changed(PRIVATE if private else STUDY, changes or {}), "the rehearsal's study")
    # Nobody has all scans in one place here.
    beside = chosen.comparisons.model_copy(update={"pooled": False})
    chosen = chosen.model_copy(update={"comparisons": beside})
    check_for_hospitals(chosen.data)
    data = data and as_bids(data, chosen)
    experiment.check(chosen, data, lots=MOST_TRAIN)
    return chosen, study_data.ready(chosen, data, default_root(), 2, Silent())


def rehearsal(study: StudyConfig, data: Path, folder: Path, wired: bool) -> Rehearsal:
    """A federation with a hospital for every site of the dataset that takes part."""
    names = study.data.sites or tuple(n for n in read_dataset(data).sites() if n not in study.data.exclude)
    settings = {**floors(study), "quality_gate": "required"}
    made = Rehearsal(folder, data, {name: (name,) for name in names}, wired=wired, settings=settings)
    for name in names:  # what was preprocessed before need not be preprocessed again
        cache = folder / name / CACHED
        if not cache.exists():
            (default_root() / "scans").mkdir(parents=True, exist_ok=True)
            cache.symlink_to(default_root() / "scans")
        _looked_at(open_hospital(folder / name), study)
    return made


def _looked_at(hospital: Hospital, study: StudyConfig) -> None:
    """Look at a hospital's cohort, and keep everybody whom the look lists: a decision that a person makes elsewhere."""
    looking.look(hospital, Recipe.of(study), study.data.control_groups, 1, lambda _visit, _failure: None)
    listed = sorted({doubt.subject for doubt in looking.left(hospital)})
    looking.decide(hospital, "keep", listed, "rehearsal", "a rehearsal has everybody take part")


def simulated(study: StudyConfig, data: Path, folder: Path, federation: Rehearsal, workers: int = 2) -> Path:
    """The same study on the local engine, with the hospitals' own division of their people; returns its model."""
    run = begin(study, folder)
    custody = {site: open_hospital(federation.folder / site).custody(run.folder.name) for site in federation.sites}
    experiment.simulate(run, data, "local", "cpu", workers, Silent(), conditions.Conditions(custody=custody))
    return run.folder / "model.safetensors"


def compare(study: StudyConfig, data: Path, folder: Path, say: Callable[[str], None]) -> bool:
    """One undisturbed run; whether its weights are the simulation's, bit for bit."""
    with rehearsal(study, data, folder, wired=False).up() as federation:
        say(f"Connected: {', '.join(federation.sites)}")
        run = federation.begin(study)
        entry = federation.wait(run, WITHIN_S)
        say(f"{run}: {entry.state}. {entry.why}")
        if entry.state is not State.FINISHED:
            return False
        say(f"Report: {federation.home.runs / run / 'report.html'}")
    same = outcomes.same_weights(
        federation.home.runs / run / "model.safetensors", simulated(study, data, folder / "simulated", federation)
    )
    say(
        "The weights are those of the simulation, bit for bit." if same else "The weights differ from the simulation's."
    )
    return same


def matrix(
    study: StudyConfig,
    data: Path,
    folder: Path,
    times: int,
    only: tuple[str, ...],
    seed: int,
    say: Callable[[str], None],
) -> bool:
    """Every fault, one after another, on one federation; whether all went as expected, and left the audits whole.

    Raises
    ------
    StudyError
        If ``only`` has a beginning that no fault of the study has: a matrix without faults would go as expected.
    """
    known = scenarios(times, study.privacy.secure_aggregation is not None)
    if unknown := [prefix for prefix in only if not any(s.name.startswith(prefix) for s in known)]:
        names = ", ".join(s.name for s in known)
        raise StudyError(f"--only: no fault of this study begins with {', '.join(unknown)}. There are: {names}.")
    chosen = [s for s in known if not only or s.name.startswith(only)]
    for scenario in chosen:
        scenario.ready()  # not after half an hour
    rng = np.random.default_rng(seed)
    references: dict[int, outcomes.Undisturbed] = {}
    seen: list[outcomes.Seen] = []

    def played(scenario: Scenario, changed: StudyConfig, reference: outcomes.Undisturbed) -> None:
        federation.wait_for_sites(federation.sites, 300)
        say(f"{scenario.name} ({scenario.what}) ...")
        seen.append(outcomes.play(scenario, federation, changed, reference, rng))
        outcomes.write(seen, folder)
        last = seen[-1]
        say(
            f"  {'as expected' if last.well else 'NOT AS EXPECTED'}: {last.state}; {last.times} times, "
            f"same weights {last.same_weights}, trained twice {last.trained_twice}, "
            f"asked again {last.asked_again}, {last.seconds:.0f} s"
        )
        if last.same_spent is not None:
            say(f"  same ledgers {last.same_spent}")
        if last.in_the_clear is not None:
            say(f"  answers in the clear: {last.in_the_clear}")

    with rehearsal(study, data, folder, wired=True).up() as federation:
        for scenario in chosen:
            length = study.federation.model_copy(update={"rounds": scenario.rounds})
            changed = study.model_copy(update={"federation": length})
            if scenario.rounds not in references:
                reference = outcomes.Undisturbed(simulated(changed, data, folder / "simulated", federation))
                if study.privacy != NONE:
                    played(UNDISTURBED, changed, reference)
                    reference = replace(reference, spent=outcomes.spent(federation))
                references[scenario.rounds] = reference
            played(scenario, changed, references[scenario.rounds])
    agreed = chains.compared(federation)
    for sentence in chains.sentences(agreed):
        say(sentence)
    say(f"The matrix is in {folder / 'faults.md'}")
    return all(row.well for row in seen) and all(one.good for one in agreed.values())
