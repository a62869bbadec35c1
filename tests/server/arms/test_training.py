"""Whom the server tells what about a training, and how messages to sites share memory."""

import threading
from pathlib import Path

import pytest

from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.simulated import SITES_VARIABLE, write_sites
from normfed_client.hospital.site import Site
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import requests
from normfed_common.wire.requests import Request, TrainRound
from normfed_server.arms.context import RunContext
from normfed_server.arms.plan import Arm
from normfed_server.arms.training import ArmTraining
from normfed_server.events.kinds import Event, Noted
from normfed_server.events.log import EventLog, subscribe
from normfed_server.sites.asking import Asker
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster
from normfed_simulation.engines.local import LocalGrid, identify


def test_a_site_with_one_person_is_told_of_aloud(
    study: StudyConfig, hospitals: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = study.model_copy(
        update={
            "data": study.data.model_copy(update={"held_out_people": 3}),
            "federation": study.federation.model_copy(update={"minimum_cohort": 1, "rounds": 1}),
        }
    )
    config = SiteConfig(name="c", data=hospitals, owns=("c",), cache=cache / "scans", output=tmp_path, device="cpu")
    write_sites(tmp_path / "sites.json", (config,))
    monkeypatch.setenv(SITES_VARIABLE, str(tmp_path / "sites.json"))
    identify()
    heard: list[Event] = []
    stop = subscribe(heard.append)
    arm = Arm("federated", alone.model, ("c",), {})
    grid = LocalGrid(1, workers=0)
    asker = Asker(grid, threading.Event())
    model = Site(config, alone).model(alone.model, alone.seed)
    roster = Roster(grid, asker, Letterhead(alone))
    roster.wait_for(1)
    context = RunContext(Letterhead(alone), roster, asker, EventLog(tmp_path / "e.jsonl"))
    ArmTraining(arm, model, lambda _: {}, context, tmp_path / "p.safetensors").run()
    stop()
    notes = [event for event in heard if isinstance(event, Noted)]
    assert [(note.site, "siamese term is off" in note.text) for note in notes] == [("c", True)]


def test_messages_to_several_sites_share_one_record(study: StudyConfig) -> None:
    identify()
    header = Request(study=study.model_dump_json(), arm="x", model=study.model, payload=TrainRound(round=1))
    made = requests({"a": 1, "b": 2}, header, {})
    assert made["a"].content is made["b"].content
    assert {site: message.metadata.dst_node_id for site, message in made.items()} == {"a": 1, "b": 2}
