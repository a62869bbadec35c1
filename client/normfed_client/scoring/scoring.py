"""Score new scans with the model of a finished run: everybody who can be, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from normfed_client.hospital.machine import computing
from normfed_client.hospital.site import Case
from normfed_client.imaging.bids import Problem
from normfed_client.imaging.cache import Cache, default_root
from normfed_client.imaging.faults import faults
from normfed_client.imaging.labels import NO_LESION
from normfed_client.imaging.preprocessing import prepare
from normfed_client.scoring import person_maps
from normfed_client.scoring.asked import Asked
from normfed_client.scoring.derivatives import Derivatives
from normfed_client.scoring.gathering import gather
from normfed_client.scoring.rows import PersonScore, Scores
from normfed_client.scoring.run_model import RunModel, open_run_model, study_to_score
from normfed_common.foundation.errors import RunError, ScanError, SiteError
from normfed_common.foundation.files import is_full

NO_P_VALUES = Problem(
    "p-values",
    "none, since no site of the run held out as many normal people as its minimum, so there is nothing to compare with",
)


class ScoreListener:
    """Hears of every person whom scoring comes to; does nothing."""

    def noted(self, notes: Sequence[Problem]) -> None:
        """What is odd about the inputs, though it stops nobody."""

    def begun(self, people: int, refused: Sequence[PersonScore]) -> None:
        """So many people are looked at from now on, beside those whom the names of their files refuse."""

    def step(self, name: str, what: str) -> None:
        """Somebody's scans are looked at: ``checking``, ``preparing`` or ``scoring``."""

    def done(self, row: PersonScore) -> None:
        """What came of a person who was looked at."""


def score_inputs(
    run: Path,
    inputs: Sequence[Path],
    out: Path,
    *,
    brain_masks: Sequence[Path] = (),
    modalities: Mapping[str, Path] | None = None,
    device: str = "auto",
    site: str | None = None,
    listener: ScoreListener | None = None,
) -> Scores:
    """Score everybody whom the inputs are of, and write a dataset of BIDS derivatives; nobody stops the others.

    A person's maps lie on the grid of a scan that was named: of the reference (T1w) where it is among them, else of the
    first. Those of a person of the run, whose scans are left in their dataset, are the run's own to the last bit.

    Parameters
    ----------
    run
        A finished run folder.
    inputs
        Scans, folders of scans, BIDS datasets.
    out
        The folder of the dataset; what is there of other people stays.
    brain_masks
        Of one person, or of several by their BIDS names. A mask that lies beside a scan by its name is found.
    modalities
        Scans of one person by modality, whose names need say nothing.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
    site
        Whose model; see `open_run_model`.

    Raises
    ------
    RunError
        If the run cannot be used, ``out`` cannot be written to, or the disk is full; what is done is whole.
    DatasetError
        If no scans are found, or a mask or modality cannot be anybody's.
    """
    listener = listener or ScoreListener()
    study = study_to_score(run)
    gathered = gather(inputs, modalities or {}, brain_masks, study.data)
    model = open_run_model(run, study, device, site)
    notes = [*gathered.notes, *([NO_P_VALUES] if model.levels.normal is None else [])]
    listener.noted(notes)
    folder = Derivatives(out, sorted({asked.dataset for asked in gathered.asked if asked.dataset is not None}))
    scoring = _Scoring(model, folder, Cache(default_root() / "scans"), listener)
    try:
        rows = scoring.everybody(gathered.asked, gathered.refused)
    except OSError as error:
        if not is_full(error):
            raise
        raise RunError(f"{out}: the disk is full. Free some space and score again; what is done is kept.") from error
    return Scores(out, rows, tuple(f"{note.what}: {note.why}" for note in notes))


@dataclass
class _Scoring:
    model: RunModel
    out: Derivatives
    cache: Cache
    listener: ScoreListener

    def everybody(self, asked: Sequence[Asked], refused: Sequence[PersonScore]) -> tuple[PersonScore, ...]:
        """Rows of all, in the order of their names."""
        self.listener.begun(len(asked), refused)
        rows = list(refused)
        checked = list(self._checked(asked, rows))
        if not checked:
            self.out.abandon()
            return _ordered(rows)
        self.out.begin()
        self.out.note(rows)
        cases: list[Case] = []
        for one in checked:
            if cases and cases[-1].visit.participant.subject != one.visit.participant.subject:
                cases = []
            row = self._one(one, cases)
            self.out.note([row])
            rows.append(row)
            self.listener.done(row)
        return _ordered(rows)

    def _checked(self, asked: Sequence[Asked], rows: list[PersonScore]) -> Iterator[Asked]:
        """Those of whom nothing is wrong that shows before anything is prepared; adds the rows of the others."""
        for one in asked:
            self.listener.step(one.visit.name, "checking")
            why = self._fault(one)
            if why:
                rows.append(one.failed(why))
                self.listener.done(rows[-1])
            else:
                yield one

    def _fault(self, asked: Asked) -> str:
        """Why somebody cannot be scored, by the files alone; empty if nothing shows."""
        recipe, visit = self.model.recipe, asked.visit
        try:
            if self.cache.get(recipe.key(visit)) is None:  # else the files were read before
                images = {modality: visit.images[modality] for modality in recipe.needed(visit)}
                found = faults(replace(visit, images=images, lesions=()))
                if found:
                    return found[0]
            return self._overwritten(asked)
        except ScanError as error:
            return str(error)

    def _overwritten(self, asked: Asked) -> str:
        """That somebody's maps are there, made of something else; empty else."""
        path = person_maps.map_path(asked, self.model, self.out)
        sidecar = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
        if not path.exists():
            return ""
        try:
            known = json.loads(sidecar.read_text(encoding="utf-8")).get(person_maps.IDENTITY)
        except (OSError, ValueError, AttributeError):
            known = None
        if known == person_maps.identity(asked, self.model):
            return ""
        return (
            f"{path}: is there, made of other scans or by another model or version. Remove it, or choose "
            "another folder with --out."
        )

    def _one(self, asked: Asked, cases: list[Case]) -> PersonScore:
        """Prepare and score a visit; adds it to the cases, which hold earlier visits of the same person."""
        model = self.model
        try:
            with computing(model.study, model.device):  # between two maps the caller computes as it likes
                self.listener.step(asked.visit.name, "preparing")
                cases.append(Case(asked.visit, prepare(asked.visit, model.recipe, self.cache), NO_LESION))
                place = person_maps.on_scan(asked, cases[-1], model)
                self.listener.step(asked.visit.name, "scoring")
                found = person_maps.look(model, cases, place)
                return person_maps.write(found, asked, cases[-1], place, model, self.out)
        except ScanError as error:
            return asked.failed(str(error))
        except SiteError as error:
            return asked.failed(f"{error.detail}. The model is at fault, not the scan.")
        except (RuntimeError, ArithmeticError, ValueError, MemoryError) as error:
            why = str(error).strip().split("\n")[0][:200] or type(error).__name__
            return asked.failed(f"{asked.visit.name}: cannot be scored ({why}). Look at the scan and at free memory.")


def _ordered(rows: Sequence[PersonScore]) -> tuple[PersonScore, ...]:
    return tuple(sorted(rows, key=lambda row: (row.participant_id, row.session or "")))
