"""Run what a recipe asks for, and put ours beside the published table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from normfed_client.hospital.device import choose_device
from normfed_common.foundation.errors import DatasetError, StudyError, UserError
from normfed_server.results import layout
from normfed_server.results.figures import Figure
from normfed_server.runs.folder import Run
from normfed_simulation import experiment, people
from normfed_simulation.datasets.recognition import opened
from normfed_simulation.reproduction import data
from normfed_simulation.reproduction.comparing import ComparedRow, compared
from normfed_simulation.reproduction.figures import beside, of_values
from normfed_simulation.reproduction.folder import ReproductionFolder
from normfed_simulation.reproduction.layout import Patient, Reproduction
from normfed_simulation.reproduction.recipe import FEDERATED, Recipe
from normfed_simulation.segmentation import study as segmentation
from normfed_simulation.segmentation.slices import Subject
from normfed_simulation.watcher import Watcher

NO_MODEL = "no model of ours stands beside it"
Shown = Callable[[str], AbstractContextManager[Watcher]]  # by the name of what is run


@dataclass(frozen=True)
class Means:
    """With what it is run; the same for all arms."""

    device: str
    workers: int


def not_run(recipe: Recipe, name: str, folders: data.Folders, look_alike: bool) -> dict[str, str]:
    """The arms that cannot be run, each with its reason: data that nobody gave, or that do not allow it.

    Raises
    ------
    UserError
        If none can be run.
    """
    found, refusals = dict[str, str](), list[UserError]()
    for arm, said in recipe.arms.items():
        absent = [f"--data {role}=DIR" for role in said.needs if role not in folders]
        if absent:
            found[arm] = f"no {' and no '.join(absent)}"
            continue
        study = recipe.study_of(name, arm, look_alike)
        try:
            root = data.root_of(folders, said.needs, study)
            experiment.check(study, root)
        except (DatasetError, StudyError) as error:
            found[arm] = str(error)
            refusals.append(error)
    if recipe.arms and len(found) == len(recipe.arms):
        if refusals:
            raise refusals[0]
        raise StudyError(
            f"Nothing can be run: {next(iter(found.values()))}. `normfed reproduce` lists what data each recipe takes."
        )
    return found


def run(opened_folder: ReproductionFolder, means: Means, shown: Shown) -> Reproduction:
    """Run it all, or what is left of it.

    Raises
    ------
    UserError
        If the data do not allow it.
    """
    begun = opened_folder.begun
    recipe = begun.recipe
    lacking = begun.not_run
    ours_alone: dict[str, dict[str, float]] = {}
    found: tuple[Patient, ...] = ()
    if recipe.segmentation is not None:
        rows, ours_alone = _segmented(opened_folder, means, shown)
        arms = {"segmentation": opened_folder.segmentation.name}
    else:
        runs = {arm: _run(opened_folder, arm, means, shown) for arm in recipe.arms if arm not in lacking}
        rows = _beside(recipe, runs, lacking, begun.look_alike)
        arms = {arm: str(of.folder.relative_to(opened_folder.path)) for arm, of in runs.items()}
        if recipe.patients == "detections":
            found = tuple(patient for arm, of in runs.items() for patient in _patients(arm, of))
    return Reproduction(
        recipe=begun.name,
        title=recipe.title,
        citation=recipe.citation,
        look_alike=begun.look_alike,
        data=begun.data,
        arms=arms,
        not_run=lacking,
        rows=rows,
        ours_alone=ours_alone,
        patients=found,
        published_patients=recipe.published_patients,
        differs=recipe.differs,
        left_out=recipe.left_out,
    )


def _run(opened_folder: ReproductionFolder, arm: str, means: Means, shown: Shown) -> Run:
    begun = opened_folder.begun
    study = begun.recipe.study_of(begun.name, arm, begun.look_alike)
    made = opened_folder.run(arm, study)
    if not made.finished:
        root = data.root_of(opened_folder.folders, begun.recipe.arms[arm].needs, study)
        with shown(arm) as watcher:
            experiment.simulate(made, root, "local", means.device, means.workers, watcher)
    return made


def _beside(recipe: Recipe, runs: dict[str, Run], lacking: dict[str, str], look_alike: bool) -> tuple[ComparedRow, ...]:
    found = []
    for row in recipe.table:
        of = runs.get(row.arm or "")
        why = NO_MODEL if row.arm is None else lacking.get(row.arm)
        if of is not None and (row.model or FEDERATED) not in layout.read(of.folder).evaluation:
            of, why = None, f"the run has no model {row.model}"  # nobody could be tested with it
        found.append(compared(row, {} if of is None else beside(of, row), look_alike, why))
    return tuple(found)


def _patients(arm: str, of: Run) -> list[Patient]:
    return [
        Patient(
            arm=arm,
            site=row["site"],
            name=row["name"],
            detected=row.get("cluster_rank") is not None,
            rank=None if row.get("cluster_rank") is None else int(row["cluster_rank"]),
        )
        for row in people.rows(of, "federated")
    ]


def _segmented(
    opened_folder: ReproductionFolder, means: Means, shown: Shown
) -> tuple[tuple[ComparedRow, ...], dict[str, dict[str, float]]]:
    begun, output = opened_folder.begun, opened_folder.segmentation
    config = begun.recipe.segmentation_of(begun.look_alike)
    subjects = [subject for folders in opened_folder.folders.values() for place in folders for subject in _scans(place)]
    experiments = segmentation.planned(subjects, output, config, begun.federated)
    device = choose_device(means.device)
    with shown("segmentation") as watcher:
        watcher.begin("Trainings", len(experiments))
        scores = segmentation.measured(
            experiments, output, config, device, lambda name: watcher.advance("Trainings", name)
        )
    ours: dict[str, dict[str, Figure]] = {}
    for (row, tested), values in scores.items():
        ours.setdefault(row, {})[tested] = of_values(values)
    rows = tuple(
        compared(row, ours.pop(row.name, {}), begun.look_alike, "no such scanner in the data")
        for row in begun.recipe.table
    )
    return rows, {row: {at: f.mean for at, f in of.items() if f.mean is not None} for row, of in ours.items()}


def _scans(folder: Path) -> list[Subject]:
    """People of CC359 who have a brain mask."""
    contents = opened("cc359", folder).contents
    found = []
    for name, person in contents.people.items():
        files = {place: path for place, path in contents.links.items() if name in place.split("/")}
        image = next((path for place, path in files.items() if place.startswith(name)), None)
        brain = next((path for place, path in files.items() if "desc-brain_mask" in place), None)
        if image is not None and brain is not None:
            found.append(Subject(person.site, image, brain))
    return found
