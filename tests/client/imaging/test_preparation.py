"""Many visits at once: the same outcome in one process and in several, and every visit is told of."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import cohorts
import pytest

from normfed_client.imaging import preparation
from normfed_client.imaging.bids import Mask, Visit, read_dataset
from normfed_client.imaging.cache import Cache
from normfed_client.imaging.participants import Participant
from normfed_client.imaging.preparation import Prepared, prepare_all, serve_visit
from normfed_client.imaging.preprocessing import Recipe
from normfed_common.foundation.errors import DatasetError, NormfedError
from normfed_common.processes.workers import WorkerDied
from normfed_common.study.preprocessing import PreprocessingConfig

RECIPE = Recipe(PreprocessingConfig(voxel_size_mm=4), ("T1w", "FLAIR"), None)


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Visit, ...]:
    """Four people, of whom one's scan is cut short and another's is gone."""
    root = cohorts.write(tmp_path_factory.mktemp("cohort"), {"a": {"control": 3, "MS": 1}})
    found = read_dataset(root).visits
    cut = found[1].images["T1w"]
    cut.write_bytes(cut.read_bytes()[:-500])
    found[2].images["FLAIR"].unlink()
    return found


def prepared(visits: tuple[Visit, ...], cache: Path, workers: int) -> tuple[Prepared, dict[str, bool]]:
    """The outcome, and of whom it was told, with or without a failure."""
    told: dict[str, bool] = {}
    outcome = prepare_all(visits, RECIPE, cache, workers, lambda visit, failure: told.update({visit.name: not failure}))
    return outcome, told


@pytest.mark.parametrize("workers", [1, 2])
def test_every_visit_is_prepared_or_has_its_reason(visits: tuple[Visit, ...], tmp_path: Path, workers: int) -> None:
    outcome, told = prepared(visits[::-1], tmp_path, workers)
    assert outcome.done == 2
    assert [problem.what for problem in outcome.problems] == [visits[1].name, visits[2].name]  # by name
    assert "ends early or is damaged" in outcome.problems[0].why
    assert "cannot be read (No such file or directory)" in outcome.problems[1].why
    assert told == {visit.name: number in (0, 3) for number, visit in enumerate(visits)}
    for visit in (visits[0], visits[3]):
        entry = Cache(tmp_path).get(RECIPE.key(visit))
        assert entry is not None
        assert entry.lesion().any() == bool(visit.lesions)


def test_what_is_cached_is_neither_built_nor_given_to_a_worker_again(
    visits: tuple[Visit, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepared(visits, tmp_path, 1)
    monkeypatch.setattr(preparation, "_in_workers", lambda *_: pytest.fail("a worker was started"))
    monkeypatch.setattr("normfed_client.imaging.preprocessing._run", lambda *_: pytest.fail("built again"))
    assert prepared(visits, tmp_path, 2) == first


def visit_of(brain: bool, lesions: int, session: str | None, in_template: bool) -> Visit:
    images = {"T1w": Path("/data/sub-01_T1w.nii.gz"), "FLAIR": Path("/data/sub-01_FLAIR.nii.gz")}
    masks = tuple(Mask(Path(f"/data/{label}.nii.gz"), "FLAIR", label) for label in ("MS", "WMH")[:lesions])
    mask = Mask(Path("/data/brain.nii.gz"), "T1w", "brain") if brain else None
    some = (Mask(Path("/data/dseg.nii.gz"), "FLAIR", "tumour", (1, 4)),) if lesions > 1 else ()
    ignored = (Mask(Path("/data/dseg.nii.gz"), "FLAIR", "ignore", (2,)),) if lesions else ()
    person = Participant("sub-01", "", "")
    return Visit(person, session, images, mask, (*masks, *some), in_template, ignored=ignored)


@pytest.mark.parametrize(
    "visit", [visit_of(True, 2, "02", True), visit_of(False, 0, None, False), visit_of(True, 1, None, False)]
)
@pytest.mark.parametrize(
    "recipe",
    [RECIPE, Recipe(PreprocessingConfig(clip=(-1.5, 3.0), normalisation="z-score"), ("FLAIR",), ("MS", "WMH"), True)],
)
def test_a_worker_prepares_the_visit_that_it_was_given(
    visit: Visit, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Visit, Recipe, Path]] = []
    monkeypatch.setattr(preparation, "prepare", lambda v, r, cache: given.append((v, r, cache.root)))
    assert serve_visit(preparation._encode(visit, recipe, tmp_path)) == b'{"failure": null}'
    assert given == [(visit, recipe, tmp_path)]


class Pool:
    """Workers in this very process."""

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, payload: Callable[[], bytes]) -> Future[bytes]:
        job: Future[bytes] = Future()
        job.set_result(serve_visit(payload()))
        return job


class DyingPool(Pool):
    """Workers that die at once."""

    def submit(self, payload: Callable[[], bytes]) -> Future[bytes]:
        job: Future[bytes] = Future()
        job.set_exception(WorkerDied("killed"))
        return job


@pytest.mark.parametrize(
    ("pool", "kind", "sentence"),
    [
        (Pool, DatasetError, r"^/cache: the disk is full\.$"),
        (DyingPool, NormfedError, r"^sub-a\w+: killed\. Out of memory, perhaps: .* --workers 1"),
    ],
)
def test_what_is_no_visits_fault_ends_the_work_with_its_reason(
    visits: tuple[Visit, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pool: type[Pool],
    kind: type[NormfedError],
    sentence: str,
) -> None:
    def full(*_: object) -> None:
        raise DatasetError("/cache: the disk is full.")

    monkeypatch.setattr(preparation, "WorkerPool", pool)
    monkeypatch.setattr(preparation, "prepare", full)
    with pytest.raises(NormfedError, match=sentence) as caught:
        prepare_all((visits[0], visits[3]), RECIPE, tmp_path, 2)
    assert type(caught.value) is kind  # a ScanError would say that the others may go on
