"""A server that asks for statistics of a hospital's cohort, in one way and in another, to learn of one person."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from attacker import MINIMUM, Server, offered, study

from normfed_client.answering.serving import to_bytes
from normfed_client.hospital import site as site_module
from normfed_client.hospital.bookkeeping.budget import spent
from normfed_client.hospital.folder import open_hospital
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode
from normfed_common.learning.bounded import PEOPLE
from normfed_common.statistics.names import ARM, ENTRY, PHASE
from normfed_common.statistics.tables import tables
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import PLAIN
from normfed_common.wire.messages import error_code

NOBODY_ELSE = "Dr Strange of ward 7"
ASKED: dict[str, Any] = {"model": ENTRY, "strategy": dict(PLAIN), "arm": ARM, "phase": PHASE}
Row = dict[str, str]


def statistics(server: Server, asked: StudyConfig, run: str) -> Arrays:
    server.answer("query.describe", asked, run=run)
    return server.answer("train.sums", asked, offered({}), run=run, **ASKED)[1]


@pytest.fixture
def rows(server: Server, cohort: Path, tmp_path: Path) -> Callable[[Callable[[int, Row], None]], None]:
    """Gives the hospital a dataset with other rows in participants.tsv, of the same scans."""
    data = tmp_path / "data"
    data.mkdir()
    for path in cohort.iterdir():
        (data / path.name).symlink_to(path)

    def write(change: Callable[[int, Row], None]) -> None:
        with open(cohort / "participants.tsv", newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file, delimiter="\t"))
        for number, row in enumerate(found):
            row["scanner"] = ""
            change(number, row)
        (data / "participants.tsv").unlink()
        with open(data / "participants.tsv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(found[0]), delimiter="\t")
            writer.writeheader()
            writer.writerows(found)
        (data / "dataset_description.json").touch()  # so that an open site is read anew
        change_site(server, data=str(data))

    return write


def change_site(server: Server, **changes: object) -> None:
    path = server.folder / "site.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    site_module.site_for.cache_clear()


def various(number: int, row: Row) -> None:
    row["age"], row["sex"] = str(20 + 7 * number % 60), "FM"[number % 2]


def told(asked: StudyConfig, arrays: Arrays) -> Iterator[tuple[str, int, int, float]]:
    """Every cell of the tables of people."""
    for table in tables(asked):
        if not table.shares:
            for first, last in np.argwhere(arrays[table.name] > 0):
                yield table.name, int(first), int(last), float(arrays[table.name][first, last])


def differences(asked: StudyConfig, one: Arrays, other: Arrays) -> list[float]:
    """Of every run of bins of which both answers tell how many people are in it, by one less the other."""
    found = []
    for table in tables(asked):
        if table.shares or not one[table.name].any() or not other[table.name].any():
            continue
        inside = [_in_runs(arrays[table.name]) for arrays in (one, other)]
        found += [abs(inside[0][run] - inside[1][run]) for run in inside[0].keys() & inside[1].keys()]
    return found


def _in_runs(array: np.ndarray) -> dict[tuple[int, int], float]:
    """People in every run of bins that no cell lies across the ends of."""
    cells = [(int(first), int(last)) for first, last in np.argwhere(array > 0)]
    bins, found = len(array), {}
    for first in range(bins):
        for last in range(first, bins):
            inside = [cell for cell in cells if first <= cell[0] and cell[1] <= last]
            if all(cell in inside or cell[1] < first or cell[0] > last for cell in cells):
                found[first, last] = sum(float(array[cell]) for cell in inside)
    return found


def test_every_cell_is_of_the_hospital_s_minimum_of_people_at_least(
    server: Server, rows: Callable[[Callable[[int, Row], None]], None]
) -> None:
    rows(various)
    asked = study()
    arrays = statistics(server, asked, "r")
    found = list(told(asked, arrays))
    assert all(people >= MINIMUM for *_, people in found)
    assert {"role", "group", "age-F", "age-M", "brain", "voxel-FLAIR"} <= {name for name, *_ in found}
    of = {name: sum(people for table, *_, people in found if table == name) for name, *_ in found}
    assert {of[name] for name in ("role", "group", "visits", "brain")} == {float(arrays[PEOPLE])}


@pytest.mark.parametrize("way", ["one person's age", "one person's sex", "one scan", "one group"])
def test_two_requests_that_differ_by_one_person_tell_nothing_of_that_one(
    server: Server, rows: Callable[[Callable[[int, Row], None]], None], way: str, tmp_path: Path
) -> None:
    """Whether somebody is added, taken away, or only corrected in between."""
    rows(various)
    asked = study()
    first = statistics(server, asked, "r1")

    def changed(number: int, row: Row) -> None:
        various(number, row)
        if number == 0:
            row["age"] = "91" if way == "one person's age" else row["age"]
            row["sex"] = "FM"[row["sex"] == "F"] if way == "one person's sex" else row["sex"]
            row["group"] = "alone" if way == "one group" else row["group"]

    rows(changed)
    if way == "one group":  # healthy to one study, and nobody to the other
        changed_study = study(data={"control_groups": ["control", "alone"]})
        assert all(
            people == 0 or people >= MINIMUM
            for people in differences(asked, first, statistics(server, changed_study, "both"))
        )
    if way == "one scan":
        folder = tmp_path / "data" / "sub-northcontrol00"
        kept = folder.resolve()
        folder.unlink()
        shutil.copytree(kept, folder)
        next(folder.rglob("*FLAIR.nii.gz")).unlink()
    second = statistics(server, asked, "r2")
    found = differences(asked, first, second)
    assert all(people == 0 or people >= MINIMUM for people in found), found
    assert first["raw-FLAIR"].any()
    assert not second["raw-FLAIR"].any()  # a sum over everybody but one is that one's, bin by bin


def test_nobody_can_be_named_as_left_out(server: Server) -> None:
    asked = study(data={"exclude": {"sub-northcontrol00": "no"}})
    assert error_code(server.ask("query.describe", asked)) is SiteCode.NAMES_PEOPLE


def test_bins_cannot_be_crafted(server: Server, rows: Callable[[Callable[[int, Row], None]], None]) -> None:
    """They are no part of a request, and what is of the study moves those of intensities alone."""
    rows(various)
    asked, other = study(), study(preprocessing={"clip": [0.0, 1.5], "percentiles": [2.0, 98.0]})
    assert error_code(server.header("train.sums", asked, **ASKED, bins=[0, 50.5, 51])) is SiteCode.BAD_REQUEST
    entry = {**ENTRY, "edges": [50.5]}
    assert error_code(server.ask("train.sums", asked, offered({}), **{**ASKED, "model": entry})) is SiteCode.BAD_REQUEST
    found = differences(asked, statistics(server, asked, "r1"), statistics(server, other, "r2"))
    assert found
    assert all(people == 0 or people >= MINIMUM for people in found)


def test_under_their_name_nothing_else_can_be_asked(server: Server) -> None:
    asked = study()
    for task, fields in (("train.round", {"round": 1}), ("evaluate.score", {}), ("train.canary", {})):
        reply = server.ask(task, asked, offered({}), model=ENTRY, strategy=dict(PLAIN), arm=ARM, **fields)
        assert error_code(reply) is SiteCode.BAD_REQUEST
    for fields in ({"arm": "federated"}, {"iteration": 1}, {"phase": "moments"}, {"repeat": 1}):
        assert error_code(server.ask("train.sums", asked, offered({}), **{**ASKED, **fields})) is SiteCode.BAD_REQUEST


def test_a_hospital_may_let_none_leave(server: Server) -> None:
    change_site(server, statistics=False)
    asked = study()
    server.answer("query.describe", asked)
    assert error_code(server.ask("train.sums", asked, offered({}), **ASKED)) is SiteCode.NO_STATISTICS
    server.answer("train.sums", asked, offered({}), arm="atlas", model=asked.comparisons.baselines[1])


def test_what_is_typed_of_scanners_and_groups_stays(
    server: Server, rows: Callable[[Callable[[int, Row], None]], None]
) -> None:
    def typed(number: int, row: Row) -> None:
        row["scanner"] = f"{NOBODY_ELSE}, Siemens 3T"
        if row["group"] != "control":
            row["group"] = NOBODY_ELSE

    rows(typed)
    asked = study()
    server.answer("query.describe", asked)
    reply = server.ask("train.sums", asked, offered({}), **ASKED)
    assert not reply.has_error()
    assert b"Strange" not in to_bytes(reply)
    arrays = statistics(server, asked, "run-1")
    vendors = next(table for table in tables(asked) if table.name == "vendor")
    assert arrays["vendor"][0, 0] == arrays[PEOPLE]
    assert vendors.bins[0] == "Siemens"


def test_with_epsilon_every_answer_has_noise_of_its_own_and_its_entry_in_the_ledger(
    server: Server, rows: Callable[[Callable[[int, Row], None]], None]
) -> None:
    rows(various)
    asked = study(privacy={"epsilon": 8.0}, model={"name": "atlas"})
    first = statistics(server, asked, "r1")
    shutil.rmtree(server.folder / "outbox")
    np.testing.assert_equal(statistics(server, asked, "r1"), first)  # nothing is learnt by asking again
    entries = open_hospital(server.folder).ledger().entries()
    assert [(entry.release.kind, entry.release.arm) for entry in entries] == [("noise", ARM)]
    assert 7.9 < spent(entries, asked.privacy.delta) <= 8
    assert all((first[table.name] % 1 != 0).any() for table in tables(asked))

    def older(number: int, row: Row) -> None:
        various(number, row)
        row["age"] = "91" if number == 0 else row["age"]

    rows(older)
    second = statistics(server, asked, "r2")  # another value under the same noise would tell who is older
    assert all((first[table.name] != second[table.name]).all() for table in tables(asked))
    assert len(open_hospital(server.folder).ledger().entries()) == 2


def test_a_study_whose_sums_are_secure_tells_no_hospital_s_own(server: Server) -> None:
    fingerprint = " ".join(["0000"] * 8)
    peers = {name: fingerprint[:-1] + str(number) for number, name in enumerate(("a", "b", "c"))}
    change_site(server, peers=peers)
    asked = study(privacy={"secure_aggregation": {"minimum_sites": 4}})
    server.answer("query.describe", asked)
    assert error_code(server.ask("train.sums", asked, offered({}), **ASKED)) is SiteCode.SECURE_SUM_REFUSED
