"""A run is marked by who withdrew from it, and made again without: the same, bit for bit, as if they had not been."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from members import begun, fingerprint_of
from run_results import run_results

from normfed_client.hospital.simulated import SITES_VARIABLE
from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import RunError, SiteCode, StudyError, UserError
from normfed_common.foundation.files import write_json
from normfed_common.studies import load_study, resolve
from normfed_common.study import withdrawn
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import refusal, requests
from normfed_common.wire.requests import Describe
from normfed_server import deployment
from normfed_server.coordinator import Coordinator
from normfed_server.monitor.views import Views
from normfed_server.results import influence, layout
from normfed_server.results.exporting import export
from normfed_server.runs import steering, withdrawing
from normfed_server.sites.heads import Books
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.participants import Admitted
from normfed_server.state import admission
from normfed_server.state.chain import chain_of
from normfed_server.state.folder import ServerHome
from normfed_server.state.ledger import State
from normfed_server.state.notes import REPLACES, replaces
from normfed_simulation import run_folder
from normfed_simulation.engines.local import LocalGrid, identify

SITES = "abc"
ROUND: dict[str, Any] = {"time": 2.0, "event": "round", "arm": "federated", "round": 1, "rounds": 4, "loss": {}}
ROUND |= {"seconds": 1.0, "megabytes": {"out": 0.0, "back": 0.0}}


def admitted(home: ServerHome, names: str = SITES) -> None:
    """Sites are accepted, and have nodes 1, 2, ..."""
    for site in names:
        admission.enrol(home, site)
        admission.accept(home, site, f"key of {site}", fingerprint_of(site))
    seen = {site: {"id": number, "online": True, "since": ""} for number, site in enumerate(names, 1)}
    admission.write_seen(home, seen)


def said(folder: Path, people: dict[str, int]) -> None:
    """The events of a run in which these sites trained a round."""
    plan = {site: {"train": n, "held_out": 0, "test": 0, "kinds": []} for site, n in people.items()}
    events = [{"time": 1.0, "event": "plan", "arms": [["federated", 4, []]], "sites": plan, "left_out": {}}]
    events.append(ROUND | {"outcomes": dict.fromkeys(people, "took part")})
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.fixture
def federation(home: ServerHome, study: StudyConfig) -> tuple[ServerHome, str]:
    """A run of three sites, one round old; a fourth is invited."""
    admitted(home)
    admission.enrol(home, "d")
    name = begun(home, study)
    said(home.runs / name, dict.fromkeys(SITES, 5))
    return home, name


@pytest.mark.parametrize("state", [State.OPEN, State.STOPPED, State.FINISHED])
def test_a_run_is_begun_again_without_a_site_and_both_say_so(federation: tuple[ServerHome, str], state: State) -> None:
    home, name = federation
    home.ledger.set(name, state)
    made = withdrawing.retrain(home, name, ("c",), "consent taken back")
    old, new = home.runs / name, home.runs / made
    assert load_study(new / "study.yaml").digest == load_study(old / "study.yaml").digest
    found = replaces(new)
    assert found is not None
    assert (found.run, found.without, found.sites, found.why) == (name, ("c",), ("a", "b"), "consent taken back")
    noted = withdrawn.read(old)
    assert (noted.replaced_by, noted.sites["c"].said_by, noted.sites["c"].why) == (
        made,
        "operator",
        "consent taken back",
    )
    assert deployment.MembersOfRun(new, home)() == {"a": 1, "b": 2}
    assert home.ledger.get(made).state is State.OPEN
    assert home.ledger.get(name).state is (State.FINISHED if state is State.FINISHED else State.STOPPED)
    with pytest.raises(RunError, match=f"is replaced already.*retrain {made}"):
        withdrawing.retrain(home, name, ("b",), "")


def test_a_run_that_was_replaced_does_not_go_on(federation: tuple[ServerHome, str]) -> None:
    home, name = federation
    made = withdrawing.retrain(home, name, ("c",), "")
    with pytest.raises(RunError, match=f"{name}: is replaced by {made}, without who withdrew"):
        steering.resume(home, name)


@pytest.mark.parametrize(
    ("without", "why"),
    [
        (("x",), r"No site is called x\. Sites: a, b, c, d\."),
        (("d",), r"d took no part in .*, so nothing of it is in the model\. Took part: a, b, c\."),
        (("a", "b", "c"), "nobody is left"),
    ],
)
def test_who_cannot_be_left_out_is_said_and_nothing_is_begun(
    federation: tuple[ServerHome, str], without: tuple[str, ...], why: str
) -> None:
    home, name = federation
    with pytest.raises(UserError, match=why):
        withdrawing.retrain(home, name, without, "")
    assert [entry.name for entry in home.ledger.all()] == [name]
    assert not (home.runs / name / withdrawn.WITHDRAWN).exists()


def test_too_few_that_can_train_nobody_yet_and_no_such_run_are_said(federation: tuple[ServerHome, str]) -> None:
    home, name = federation
    said(home.runs / name, {"a": 1, "b": 1, "c": 9})
    with pytest.raises(UserError, match=r"of the sites that stay 0 can train \(federation.minimum_cohort: 2 people\)"):
        withdrawing.retrain(home, name, ("c",), "")
    (home.runs / name / "events.jsonl").unlink()
    with pytest.raises(RunError, match="nobody took part yet"):
        withdrawing.retrain(home, name, ("c",), "")
    with pytest.raises(RunError, match="No run is called x"):
        withdrawing.retrain(home, "x", ("c",), "")


@pytest.mark.parametrize(
    ("privacy", "without", "refused"),
    [
        ({"secure_aggregation": True}, "h", True),
        ({"secure_aggregation": True}, "fgh", True),
        ({"secure_aggregation": True}, "efgh", False),
        ({"secure_aggregation": True, "epsilon": 4}, "h", False),
        ({"secure_aggregation": True, "epsilon": 4, "unit": "sample"}, "h", True),
    ],
)
def test_a_secure_sum_is_not_asked_for_again_less_a_few_sites_without_noise(
    home: ServerHome, study: StudyConfig, privacy: dict[str, Any], without: str, refused: bool
) -> None:
    """The difference would be theirs; so do the hospitals themselves (`test_lying_about_survivors`)."""
    admitted(home, "abcdefgh")
    name = begun(home, resolve(study.model_dump(mode="json") | {"privacy": privacy}, "test"))
    said(home.runs / name, dict.fromkeys("abcdefgh", 5))
    if not refused:
        withdrawing.retrain(home, name, tuple(without), "")
        return
    with pytest.raises(StudyError, match=f"are over {', '.join(without)} alone, so the other hospitals refuse"):
        withdrawing.retrain(home, name, tuple(without), "")
    assert len(home.ledger.all()) == 1


def test_a_mark_is_of_a_site_or_of_people_and_never_weaker_than_before(federation: tuple[ServerHome, str]) -> None:
    home, name = federation
    folder = home.runs / name
    assert withdrawing.mark(home, name, ("b",), True, "").whole == frozenset()
    assert deployment.MembersOfRun(folder, home)().keys() == set(SITES)  # it goes on, without these people
    assert withdrawing.mark(home, name, ("b",), False, "").whole == {"b"}
    assert withdrawing.mark(home, name, ("b",), True, "").whole == {"b"}
    assert deployment.MembersOfRun(folder, home)().keys() == {"a", "c"}
    assert withdrawn.read(folder).sentences()[0].startswith("b withdrew (20")


def test_a_damaged_mark_asks_nobody(federation: tuple[ServerHome, str]) -> None:
    home, name = federation
    (home.runs / name / withdrawn.WITHDRAWN).write_text("{")
    with pytest.raises(RunError, match="damaged"):
        deployment.MembersOfRun(home.runs / name, home)()
    (home.runs / name / withdrawn.WITHDRAWN).unlink()
    (home.runs / name / REPLACES).write_text("{}")
    with pytest.raises(RunError, match="damaged"):
        deployment.MembersOfRun(home.runs / name, home)


@dataclass
class Played:
    """A federation in this process: the sites are those of a simulation, and the server is an operator's."""

    home: ServerHome
    data: Path
    cache: Path
    asked: Counter[int] = field(default_factory=Counter)  # how often each node was asked

    def play(self, folder: Path, members: dict[str, int] | None = None) -> Path:
        """Run what a server's process runs; or the same for members of its own, with no server's folder."""
        run = run_folder.Run(folder, load_study(folder / "study.yaml"))
        names = sorted(members or admission.nodes(self.home))
        run_folder.write_site_configs(run, self.data, names, self.cache, "cpu", {})
        grid = LocalGrid(len(names), 0, self._tamper)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SITES_VARIABLE, str(run.sites_file))
            if members is None:
                deployment._coordinate(grid, folder, self.home)
            else:
                Coordinator(grid, folder, Admitted(lambda: members, frozenset, canary=False)).run()
        return folder

    def _tamper(self, request: Message, reply: Message) -> Message:
        self.asked[request.metadata.dst_node_id] += 1
        return reply


@pytest.fixture(params=["rounds", "sums"])
def played(
    request: pytest.FixtureRequest, home: ServerHome, study: StudyConfig, hospitals: Path, cache: Path
) -> tuple[Played, StudyConfig]:
    identify()
    raw = study.model_dump(mode="json")
    raw["federation"] |= {"rounds": 1, "patience_s": 0.2}
    raw["comparisons"] = {"local": False, "pooled": False, "baselines": []}
    raw["model"] = raw["model"] | {"pairs_per_subject": 10} if request.param == "rounds" else {"name": "atlas"}
    admitted(home)
    return Played(home, hospitals, cache / "scans"), resolve(raw, "test")


def test_a_run_made_again_is_bit_for_bit_one_that_never_had_the_site(
    played: tuple[Played, StudyConfig], tmp_path: Path
) -> None:
    federation, study = played
    home = federation.home
    name = begun(home, study)
    write_json(home.runs / name / "options.json", {"canary": False})
    federation.play(home.runs / name)
    *others, gone = sorted(admission.nodes(home))
    before_that = federation.asked[len(SITES)]
    made = withdrawing.retrain(home, name, (gone,), "")
    federation.play(home.runs / made)
    assert federation.asked[len(SITES)] == before_that > 0

    never = tmp_path / "never"
    never.mkdir()
    (never / "study.yaml").write_bytes((home.runs / made / "study.yaml").read_bytes())
    federation.play(never, {site: number for number, site in enumerate(others, 1)})
    found, expected, before = (
        named.load(folder / "model.safetensors") for folder in (home.runs / made, never, home.runs / name)
    )
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)
    assert any((before[key] != array).any() for key, array in found.items())
    results = layout.read(home.runs / made)
    assert gone not in {site.name for site in results.sites} | results.left_out.keys()

    told = " ".join(influence.sentences(home.runs / name))
    assert f"{made} differs from this model by" in told
    assert "nothing bounds what is left of them" in told
    assert f"{gone} was in 1 of 1 rounds" in told or f" of them of {gone}." in told


def test_a_hospital_s_own_word_marks_the_runs_of_the_study_that_were_made_with_it(
    federation: tuple[ServerHome, str], study: StudyConfig
) -> None:
    identify()
    home, name = federation
    other = begun(home, study.model_copy(update={"seed": 99}))
    said(home.runs / other, dict.fromkeys(SITES, 5))
    without = begun(home, study)
    said(home.runs / without, dict.fromkeys("ab", 5))
    question = requests({"c": 3}, Letterhead(study, "next").request(Describe()), {})["c"]
    heard = deployment.MarkingCounters(home, Books(chain_of(home), home.heads, lambda _site: ""), study.digest)
    heard.arrived("c", question, refusal(question, SiteCode.AWAITS_APPROVAL))
    assert not withdrawn.read(home.runs / name).sites
    heard.arrived("c", question, refusal(question, SiteCode.WITHDRAWN))
    assert {site: of.said_by for site, of in withdrawn.read(home.runs / name).sites.items()} == {"c": "site"}
    assert withdrawn.read(home.runs / other).sites == {}
    assert withdrawn.read(home.runs / without).sites == {}


def test_who_withdrew_is_in_the_list_of_runs_the_monitor_and_the_export(
    federation: tuple[ServerHome, str], tmp_path: Path
) -> None:
    home, name = federation
    made = withdrawing.retrain(home, name, ("c",), "")
    shown = {run["name"]: run["withdrawn"] for run in Views(home).state()["runs"]}
    assert f"use {made}" in shown[name][-1]
    assert shown[made] == [f"In the place of {name}, without c."]
    named.save(home.runs / name / "model.safetensors", {"w": np.arange(3.0)})
    layout.write(home.runs / name, run_results())
    (home.runs / name / "report.html").write_text("")
    exported = tmp_path / "out"
    assert exported / withdrawn.WITHDRAWN in export(home.runs / name, exported)
    assert withdrawn.read(exported).sentences() == shown[name]


@pytest.mark.parametrize(
    ("privacy", "bound"),
    [
        (None, "nothing bounds what is left"),
        ({"unit": "patient"}, "Noise bounds what is left of each person: epsilon 3, delta 1e-05"),
        ({"unit": "sample"}, "nothing bounds what is left"),
        ({"unit": "site"}, "bounds what is left of a whole site: epsilon 3, delta 1e-05"),
    ],
)
def test_a_site_s_part_is_counted_from_the_rounds_and_only_noise_bounds_it(
    tmp_path: Path, privacy: dict[str, Any] | None, bound: str
) -> None:
    rounds = [
        {"round": 1, "shares": {"a": 0.5, "c": 0.5}, "update_norms": {"a": 1.0, "c": 3.0}},
        {"round": 2, "shares": {"a": 1.0}, "update_norms": {"a": 2.0}},
    ]
    spent = {"epsilon": 3.0, "sites": ["a", "c"], "mechanisms": []}
    made = {"epsilon": 4.0, "delta": 1e-5, "models": {"federated": spent}, "total": 3.0, **(privacy or {})}
    of = "sites" if privacy == {"unit": "site"} else "people"
    claimed = {"people": None, "sites": None, "minimum_sites": None, "outside": []}
    layout.write(tmp_path, run_results(rounds, privacy=None if privacy is None else claimed | {of: made}))
    assert influence.sentences(tmp_path) == []
    withdrawn.note(tmp_path, ("c",), "operator")
    part, noise = influence.sentences(tmp_path)
    # (0.5 * 3) of (0.5 * 1 + 0.5 * 3 + 1 * 2)
    assert part.startswith(
        "c was in 1 of 2 rounds, with 25% of the weight on average, 50% at most, and 38% of the length"
    )
    assert bound in noise


def test_of_sums_a_site_s_part_is_its_people(tmp_path: Path) -> None:
    people = [{"name": s, "train": n, "held_out": 0, "test": 0, "kinds": []} for s, n in (("a", 30), ("c", 10))]
    layout.write(tmp_path, run_results(sites=people, trained=["a", "c"]))
    withdrawn.note(tmp_path, ("c",), "site")
    assert influence.sentences(tmp_path)[0] == "The model is made of sums over 40 people, 10 of them of c."
