"""Every version reads what the versions before it wrote in the same protocol, and sends nothing that they refuse."""

from __future__ import annotations

import json
from typing import Any, get_args

import golden_protocol
import numpy as np
import pytest
from envelopes import of
from flwr.app import ConfigRecord, RecordDict
from golden_protocol import FOLDER, SENT, changes, fields
from pydantic import Field

from normfed_common.deployment import bundle
from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import SiteCode
from normfed_common.foundation.versions import PROTOCOL
from normfed_common.studies import resolve
from normfed_common.study.base import Frozen
from normfed_common.wire import messages, offers, packing
from normfed_common.wire.evaluation import ScoreRange
from normfed_common.wire.tasks import Task

GOLDEN = FOLDER / f"protocol-{PROTOCOL}"
FROZEN = json.loads((GOLDEN / "protocol.json").read_text())
CHANGED = "See `Releases` in CONTRIBUTING.md: either leave it out where it has its default, or take the next PROTOCOL."


def lines(name: str) -> list[str]:
    return (GOLDEN / name).read_text().splitlines()


def arrays(of_what: str) -> dict[str, np.ndarray]:
    found = named.load(GOLDEN / "arrays.safetensors")
    return {name.partition(":")[2]: array for name, array in found.items() if name.startswith(f"{of_what}:")}


def test_no_field_of_the_protocol_is_gone_and_new_ones_are_left_out_where_they_have_their_default() -> None:
    assert changes(FROZEN["fields"], golden_protocol.spoken()) == [], CHANGED


def test_no_task_and_no_code_is_gone_or_means_another() -> None:
    assert set(FROZEN["tasks"]) <= set(get_args(Task)), CHANGED
    codes = {code.name: int(code) for code in SiteCode}
    assert FROZEN["codes"].items() <= codes.items(), CHANGED


def test_the_bundle_that_hospitals_list_stays_over_an_upgrade() -> None:
    assert bundle.digest() == FROZEN["bundle"], CHANGED


@pytest.mark.parametrize("line", lines("requests.jsonl"), ids=lambda line: json.loads(line)["payload"]["task"])
@pytest.mark.parametrize("packed", [False, True])
def test_requests_are_read_and_said_again_in_the_same_words(line: str, packed: bool) -> None:
    sent = arrays("offer")
    records = packing.pack(sent) if packed else messages.to_record(sent)
    task = json.loads(line)["payload"]["task"]
    content = RecordDict({"header": ConfigRecord({"json": line}), "arrays": records})
    header, found = messages.decode_request(of(content, task))
    assert header.model_dump_json() == line
    offer = offers.decode(found)
    assert [sorted(model) for model in offer.models] == [["count", "encoder/0.weight"]] * 2
    np.testing.assert_array_equal(offer.models[1]["encoder/0.weight"], np.arange(1, 7).reshape(2, 3))
    np.testing.assert_array_equal(offer.beside["encoder/0.weight"], np.ones((2, 3)))


@pytest.mark.parametrize("line", lines("answers.jsonl"), ids=lambda line: json.loads(line)["payload"]["task"])
def test_answers_are_read_and_said_again_in_the_same_words(line: str) -> None:
    content = RecordDict({"header": ConfigRecord({"json": line}), "arrays": messages.to_record(arrays("range"))})
    header, found = messages.decode_answer(of(content, json.loads(line)["payload"]["task"]))
    assert header.model_dump_json() == line
    assert ScoreRange.decode(found) == ScoreRange(-0.5, 2.0)


@pytest.mark.parametrize("told", json.loads((GOLDEN / "studies.json").read_text()), ids=lambda t: t["digest"][:6])
def test_a_resolved_study_is_resolved_to_the_same_text_and_digest(told: dict[str, str]) -> None:
    """A run that goes on under a newer version asks every site the same, to the letter: else its work is done anew."""
    again = resolve(json.loads(told["study"]), "golden")
    assert again.model_dump_json() == told["study"]
    assert again.digest == told["digest"]


class Inner(Frozen):
    kept: int = 1


class Before(Frozen):
    kept: int
    inner: Inner = Inner()
    beside: tuple[Inner | None, ...] = ()


def later(**new: Any) -> type[Frozen]:
    """The same model in a later version, with more fields or others."""
    return type("Before", (Before,), {"__annotations__": dict.fromkeys(new, "int"), **new})


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (later(new=Field(0, exclude_if=lambda value: value == 0)), []),
        (later(new=Field(0)), ["Before.new is new and always sent: older versions refuse it (exclude_if)"]),
        (later(new=Field()), ["Before.new is new and always sent: older versions refuse it (exclude_if)"]),
        (later(new=Field(3, exclude_if=lambda value: value == 0)), ["Before.new is new and always sent: older "
         "versions refuse it (exclude_if)"]),
        (later(kept=Field(0, exclude_if=lambda value: value == 0)), ["Before.kept was sent, and is {'left out': 0}"]),
        (Inner, ["Before.inner is gone", "Before.beside is gone"]),
    ],
)  # fmt: skip
def test_what_breaks_a_protocol_is_found(model: type[Frozen], found: list[str]) -> None:
    before = fields({"Before": Before})
    assert before == {"Before": dict.fromkeys(("kept", "inner", "beside"), SENT), "Inner": {"kept": SENT}}
    assert changes(before, fields({"Before": model, "Inner": Inner})) == found


def test_another_default_of_what_is_left_out_breaks_a_protocol() -> None:
    """An older version reads its own default where a newer one left the field out."""
    first, second = (later(new=Field(n, exclude_if=lambda value, n=n: value == n)) for n in (0, 5))
    assert changes(fields({"Before": first}), fields({"Before": second})) == [
        "Before.new was {'left out': 0}, and is {'left out': 5}"
    ]
