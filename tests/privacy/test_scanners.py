"""What a hospital's scanners are called stays there, and its ComBat works under the hospitals' rules."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from attacker import RULES, SITES, study
from flwr.app import Message

from normfed_client.hospital.folder import open_hospital
from normfed_common.wire.messages import decode_answer
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.runs.folder import begin
from normfed_simulation import run_folder as runs
from normfed_simulation.engines import local

SCANNER, HOSPITALS = "Secretscope", list(SITES)[:2]


def with_scanners(cohort: Path, root: Path) -> Path:
    """The cohort by links, with a name of its own for every site's scanner."""
    root.mkdir()
    for path in cohort.iterdir():
        if path.name != "participants.tsv":
            (root / path.name).symlink_to(path)
    header, *rows = (cohort / "participants.tsv").read_text().splitlines()
    scanners = [f"{row}\t{SCANNER} {row.split()[1]}" for row in rows]
    (root / "participants.tsv").write_text("\n".join([f"{header}\tscanner", *scanners]) + "\n")
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
