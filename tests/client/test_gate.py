from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, Metadata, RecordDict

from normfed_client.answering import gate
from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.site import SITES_VARIABLE, write_sites
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import Answer, Request, encode, error_code


@pytest.fixture
def ask(hospitals: Path, cache: Path, tmp_path: Path, study: StudyConfig, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Send one request through the gate to a given piece of work."""
    config = SiteConfig(
        name="a", data=hospitals, owns=("a",), cache=cache / "scans", output=tmp_path / "out", device="cpu"
    )
    write_sites(tmp_path / "sites.json", (config,))
    monkeypatch.setenv(SITES_VARIABLE, str(tmp_path / "sites.json"))

    def through(work, content: RecordDict | None = None) -> Message:  # type: ignore[no-untyped-def]
        header = Request(study=study.model_dump_json(), arm="federated", model=study.model)
        message = Message(
            content=encode(header, {}) if content is None else content,
            metadata=Metadata(1, "m", 0, 2, "", "", 1.0, 99.0, "train.round"),
        )  # type: ignore[call-overload]
        return gate.guarded(message, Context(1, 2, {"partition-id": 0}, RecordDict(), {}), work)

    return through


SECRET = "/data/patients/Jane_Doe_1971/sub-07_T1w.nii.gz"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError(SECRET), SiteCode.INTERNAL),
        (FileNotFoundError(2, "no such file", SECRET), SiteCode.INTERNAL),
        (OSError(28, "No space left on device", SECRET), SiteCode.OUT_OF_SPACE),
        (OSError(f"4096 requested and 0 written to {SECRET}"), SiteCode.OUT_OF_SPACE),  # as NumPy says it
        (SiteError(SiteCode.NOT_FINITE, SECRET), SiteCode.NOT_FINITE),
        (KeyError(SECRET), SiteCode.INTERNAL),
    ],
)
def test_no_word_of_an_error_leaves_but_its_code(ask, tmp_path: Path, error: Exception, code: SiteCode) -> None:  # type: ignore[no-untyped-def]
    def work(*_: object) -> None:
        raise error

    reply = ask(work)
    assert error_code(reply) is code
    assert reply.error.reason == code.sentence
    assert not any(part in str(vars(reply)) + reply.error.reason for part in ("Jane", "sub-07", "/data"))
    assert "Jane" in (tmp_path / "out" / gate.LOG).read_text()  # the site's own people can read it


def test_a_request_that_breaks_the_protocol_or_asks_for_an_unknown_study_is_refused(ask, study: StudyConfig) -> None:  # type: ignore[no-untyped-def]
    def work(*_: object) -> None:
        pytest.fail("must not be reached")

    header = Request(study=study.model_dump_json(), arm="x", model=study.model)
    assert error_code(ask(work, encode(header, {"w": np.array([np.nan])}))) is SiteCode.BAD_REQUEST
    assert error_code(ask(work, RecordDict())) is SiteCode.BAD_REQUEST
    for text in ("{}", "not json", study.model_dump_json().replace('"fedavg"', '"evil"')):
        content = encode(Request(study=text, arm="x", model=study.model), {})
        assert error_code(ask(work, content)) is SiteCode.STUDY_REFUSED


def test_an_answer_passes(ask) -> None:  # type: ignore[no-untyped-def]
    reply = ask(lambda job: (Answer(site=job.site.config.name), {"x": np.ones(2)}))
    assert reply.has_content()
    assert reply.metadata.reply_to_message_id == "m"


def test_an_unreadable_dataset_is_a_code(ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    text = (tmp_path / "sites.json").read_text()
    other = tmp_path / "elsewhere.json"
    other.write_text(text.replace("phantom", "no-phantom"))
    monkeypatch.setenv(SITES_VARIABLE, str(other))
    assert error_code(ask(lambda *_: None)) is SiteCode.DATA_UNUSABLE
