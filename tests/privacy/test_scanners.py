"""What a hospital's scanners are called stays there, and its ComBat works under the hospitals' rules."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from attacker import MINIMUM, RULES, SITES, Server, offered, study
from flwr.app import Message

from normfed_client.hospital.folder import open_hospital
from normfed_client.hospital.site import Site
from normfed_common.foundation.errors import SiteCode
from normfed_common.wire.messages import decode_answer, error_code
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.runs.folder import begin
from normfed_simulation import run_folder as runs
from normfed_simulation.engines import local

SCANNER, HOSPITALS = "Secretscope", list(SITES)[:2]


def with_scanners(cohort: Path, root: Path, scanners: Mapping[str, str] | None = None) -> Path:
    """The cohort by links, with scanners of these people, or else a name of its own for every site's."""
    root.mkdir()
    for path in cohort.iterdir():
        if path.name != "participants.tsv":
            (root / path.name).symlink_to(path)
    header, *rows = (cohort / "participants.tsv").read_text().splitlines()
    named = [f"{SCANNER} {row.split()[1]}" if scanners is None else scanners.get(row.split()[0], "n/a") for row in rows]
    rows = [f"{row}\t{name}" for row, name in zip(rows, named, strict=True)]
    (root / "participants.tsv").write_text("\n".join([f"{header}\tscanner", *rows]) + "\n")
    return root


def content(message: Message) -> bytes:
    """Everything in a message, as bytes."""
    found = [json.dumps(dict(record), default=str).encode() for record in message.content.config_records.values()]
    for record in message.content.array_records.values():
        found += [name.encode() + array.data for name, array in record.items()]
    return b"\n".join(found)


def test_no_message_of_a_run_with_combat_names_a_scanner(
    cohort: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = with_scanners(cohort, tmp_path / "data")
    asked = study(
        model={"name": "atlas"},
        comparisons={"baselines": []},
        transforms=[{"name": "combat", "minimum_people": 2, "places_mm": 16, "covariates": ["age"]}],
    )
    hospitals = Rehearsal(tmp_path / "hospitals", data, {name: (name,) for name in HOSPITALS}, settings=RULES)
    run = begin(asked, tmp_path / "run")
    custody = {site: open_hospital(hospitals.folder / site).custody("run") for site in HOSPITALS}
    runs.write_site_configs(run, data, HOSPITALS, scans, "cpu", custody)
    said: list[bytes] = []
    sums: list[set[str]] = []

    def take(request: Message, reply: Message) -> Message:
        said.extend((content(request), content(reply)))
        if request.metadata.message_type == "train.sums":
            sums.append(set(decode_answer(reply)[1]))
        return reply

    before = dict(os.environ)
    try:
        local.run(run.folder, run.sites_file, len(HOSPITALS), 0, take)
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert run.finished
    assert sum("scanners" in names for names in sums) == len(HOSPITALS)
    assert len(said) > 20
    assert not any(SCANNER.encode() in message or f"{site}/".encode() in message for message in said for site in SITES)


def test_sums_of_the_reference_over_people_who_differ_by_one_are_not_both_told(
    server: Server, cohort: Path, tmp_path: Path
) -> None:
    """All who train are the same in both runs, but one of them is said to be of the other scanner in the second."""
    reference = {"name": "combat", "minimum_people": 2, "places_mm": 16, "covariates": [], "reference": "north/a"}
    asked = study(model={"name": "atlas"}, comparisons={"baselines": []}, transforms=[reference])
    folder = open_hospital(server.folder)
    train = sorted({c.visit.participant.subject for c in Site(folder.site_config("look"), asked).train})
    assert len(train) >= 2 * MINIMUM + 1
    told = []
    for run, of_a in (("r1", train[:MINIMUM]), ("r2", train[: MINIMUM + 1])):
        data = with_scanners(cohort, tmp_path / run, dict.fromkeys(of_a, "a") | dict.fromkeys(train[len(of_a) :], "b"))
        settings = yaml.safe_load((server.folder / "site.yaml").read_text())
        (server.folder / "site.yaml").write_text(yaml.safe_dump(settings | {"data": str(data)}))
        server.answer("query.describe", asked, run=run)
        reply = server.ask("train.sums", asked, offered({}), run=run, phase="transform-1-moments")
        told.append(error_code(reply) if reply.has_error() else decode_answer(reply)[1]["reference_scans"].max())
    assert told == [MINIMUM, SiteCode.TOO_CLOSE_TO_EARLIER]
