"""Run studies from Python, with the functions that the commands call."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from normfed_common.foundation.errors import NormfedError, StudyError
from normfed_common.studies import load_study, resolve
from normfed_common.study.changes import changed
from normfed_common.study.config import StudyConfig
from normfed_simulation import comparison, started
from normfed_simulation.api.opened import OpenRun
from normfed_simulation.api.places import Place, Places, paths
from normfed_simulation.api.progress import watching
from normfed_simulation.api.wording import spoken_in_python
from normfed_simulation.attacks import Attack
from normfed_simulation.comparison import Entry
from normfed_simulation.conditions import Conditions
from normfed_simulation.experiment import Engine
from normfed_simulation.started import Means, Started
from normfed_simulation.watcher import Watcher

Study = Place | Mapping[str, Any] | StudyConfig
Data = Places | None


@spoken_in_python
def simulate(
    study: Study = "demo",
    *,
    data: Data = None,
    out: Place = "runs",
    progress: bool | Watcher = True,
    engine: Engine = "local",
    device: str = "auto",
    workers: int | None = None,
    hospital_times: bool = False,
    attacks: Mapping[str, str] | None = None,
    **changes: Any,
) -> OpenRun:
    """Train one model at several hospitals on this machine, and test it: `normfed simulate`.

    Parameters
    ----------
    study
        A file, the name of a study that comes with normfed, the same as a mapping, or a resolved study.
    data
        A dataset, or several: BIDS whose participants.tsv has a column `site`, or public ones as they came. None for a
        study that has synthetic people made.
    out
        Folder in which the run folder is made.
    progress
        True shows how far along the run is, on the screen or in the notebook; False shows nothing.
    engine
        Who carries the messages: `local`, or `ray` where that is installed.
    device
        auto, cpu, cuda, or cuda:1 for the second GPU.
    workers
        Processes; 0 does all the work in this one, None takes one per core.
    hospital_times
        Whether to simulate how late real hospitals answer, on a virtual clock.
    attacks
        Malicious sites, and what each does: ``{"b": "sign-flip"}``.
    changes
        Values of the study, by key: ``**{"federation.rounds": 5}``.

    Raises
    ------
    UserError
        If the study cannot be run here, or the data do not allow it. What was interrupted goes on with `resume`.
    """
    means = Means(engine, device, workers)
    conditions = Conditions(hospital_times, _attacks(attacks))
    begun = started.begin(asked(study, changes), paths(data), Path(out), means, conditions)
    return _finished(begun, progress)


@spoken_in_python
def compare(
    study: Study = "siamese",
    *,
    strategies: Entry | Sequence[Entry] | None = None,
    compressions: str | Sequence[str] | None = None,
    repeats: int | None = None,
    data: Data = None,
    out: Place = "runs",
    progress: bool | Watcher = True,
    engine: Engine = "local",
    device: str = "auto",
    workers: int | None = None,
    hospital_times: bool = False,
    attacks: Mapping[str, str] | None = None,
    **changes: Any,
) -> OpenRun:
    """Train the same study under several strategies: `normfed compare`; its `league` is the table.

    Other parameters, and what is raised, are as in `simulate`.

    Parameters
    ----------
    strategies
        Names, ``{"name": "ditto", "lambda": 0.5}``, ``local``, ``pooled``, or ``all``; a single one stands for a list
        of one. The first becomes the study's own. None: those of the study, or else the usual ones.
    compressions
        Of ``fp16``, ``bf16`` and ``int8``: under which the study's own strategy is trained as well.
    repeats
        How often every model is trained, from other weights and batches.
    """
    means = Means(engine, device, workers)
    conditions = Conditions(hospital_times, _attacks(attacks))
    entries = None if strategies is None else comparison.checked(_several(strategies), "strategies")
    under = [compressions] if isinstance(compressions, str) else compressions
    own = comparison.changes(asked(study, changes), entries, under, repeats)
    begun = started.begin(asked(study, own | changes), paths(data), Path(out), means, conditions)
    return _finished(begun, progress)


@spoken_in_python
def resume(
    run: Place,
    *,
    data: Data = None,
    progress: bool | Watcher = True,
    engine: Engine = "local",
    device: str = "auto",
    workers: int | None = None,
) -> OpenRun:
    """Bring an interrupted run to its end, with the weights that it would have had: `normfed simulate --resume`.

    Parameters
    ----------
    data
        Where its datasets are now, if they have moved.

    Raises
    ------
    UserError
        If it is finished, or its data are gone.
    """
    return _finished(started.resume(Path(run), paths(data), Means(engine, device, workers)), progress)


@spoken_in_python
def open_run(run: Place) -> OpenRun:
    """A finished run, in frames, models and maps.

    Raises
    ------
    RunError
        If it is none, or not finished.
    """
    return OpenRun(Path(run))


def asked(study: Study, changes: Mapping[str, Any]) -> StudyConfig:
    """The study that is meant, resolved.

    Raises
    ------
    StudyError
        If it cannot be read, or asks for something unknown or impossible.
    """
    if wrong := [key for key in changes if "__" in key]:
        right = wrong[0].replace("__", ".")
        raise StudyError(f"{wrong[0]}: keys of a study are joined by dots. Write **{{{right!r}: ...}}.")
    if isinstance(study, StudyConfig):
        return resolve(changed(study.model_dump(mode="json"), changes), study.name) if changes else study
    if isinstance(study, Mapping):
        return resolve(changed(study, changes), "the study")
    return load_study(Path(study), **changes)


def _several(given: Entry | Sequence[Entry]) -> list[Entry]:
    """A list, of a single name or entry too."""
    return [given] if isinstance(given, str | Mapping) else list(given)


def _attacks(said: Mapping[str, str] | None) -> dict[str, Attack]:
    found = {}
    for site, attack in (said or {}).items():
        if attack not in list(Attack):
            raise StudyError(f"attacks: {site} cannot do {attack!r}. Attacks are {', '.join(Attack)}.")
        found[site] = Attack(attack)
    return found


def _finished(begun: Started, progress: bool | Watcher) -> OpenRun:
    """The run, run to its end; whoever interrupts it is told what goes on."""
    try:
        with watching(progress) as watcher:
            begun.finish(watcher)
    except (KeyboardInterrupt, NormfedError) as error:
        folder = begun.run.folder
        if begun.run.finished:
            error.add_note(
                f"All figures are there: normfed.open_run({str(folder)!r}). Its report: normfed report "
                f"{shlex.quote(str(folder))}"
            )
        elif folder.exists():
            error.add_note(f"Go on with normfed.resume({str(folder)!r}).")
        raise
    return OpenRun(begun.run.folder)
