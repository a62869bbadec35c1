"""A run passed on, as the trackers' own readers find it, without a connection to anywhere."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import normfed
from compared import metrics
from PIL import Image
from run_results import history, run_results

from normfed_common.foundation.errors import RunError, UserError
from normfed_common.processes.supervision import only_one
from normfed_common.study.config import StudyConfig
from normfed_server.events.kinds import Failed, RoundDone
from normfed_server.events.log import EventLog
from normfed_server.results import layout
from normfed_server.runs import folder as runs
from normfed_server.runs.at_work import at_work
from normfed_server.runs.folder import Run
from normfed_server.state.folder import LEDGER
from normfed_server.state.ledger import Ledger, State
from normfed_server.tracking import mlflow_server, passing, telling
from normfed_server.tracking.passing import Asked, Together

ROUNDS = [{"round": number, "loss": {"a": 1 / number}, "outcomes": {"a": "took part"}} for number in (1, 2, 3)]


@pytest.fixture
def run(study: StudyConfig, tmp_path: Path) -> Run:
    """A finished run with a table and a figure, and some of patients."""
    opened = runs.begin(study, tmp_path / "runs")
    layout.write(opened.folder, run_results(ROUNDS, **metrics(**{"intensity-units+edge-5mm": {}})))
    for name in ("report.html", "sites.json", "tables/models.csv", "tables/patients/patients.csv"):
        path = opened.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (opened.folder / "figures").mkdir()
    Image.new("RGB", (4, 3), "red").save(opened.folder / "figures" / "roc.png")
    return opened


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of this process may connect beyond the machine; of its children a proxy that listens would be asked."""
    connect = socket.socket.connect

    def refused(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
            pytest.fail(f"connects to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refused)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
            monkeypatch.setenv(name.lower(), os.environ[name])
        yield
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_tensorboard_reads_rounds_the_end_and_figures(run: Run, tmp_path: Path, nowhere: None) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    normfed("export", run.folder, "--tensorboard", tmp_path / "board")
    found = EventAccumulator(str(tmp_path / "board" / run.folder.name))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss/a")] == [
        (1, 1.0),
        (2, 0.5),
        (3, pytest.approx(1 / 3)),
    ]
    assert [event.value for event in found.Scalars("auroc/federated")] == [pytest.approx(0.9)]
    assert found.Tags()["images"] == ["figures/roc"]
    assert "study/text_summary" in found.Tags()["tensors"]
    hyper = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"strategy.name" in hyper


def test_tensorboards_file_names_neither_the_machine_nor_the_process(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "ward-7")
    normfed("export", run.folder, "--tensorboard", tmp_path / "board")
    (written,) = (tmp_path / "board" / run.folder.name).iterdir()
    assert re.fullmatch(r"events\.out\.tfevents\.\d{20}\.normfed", written.name)
    assert b"ward-7" not in written.read_bytes()


def test_mlflow_reads_study_rounds_the_end_and_files(run: Run, tmp_path: Path, nowhere: None) -> None:
    normfed("export", run.folder, "--mlflow", tmp_path / "mlruns")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("normfed").experiment_id])
    assert found.info.run_name == run.folder.name
    assert found.info.status == "FINISHED"
    assert found.data.params["strategy.name"] == "fedavg"
    assert found.data.metrics["auroc/federated"] == 0.9
    assert found.data.metrics["auroc/intensity-units_edge-5mm"] == 0.8
    assert [metric.value for metric in client.get_metric_history(found.info.run_id, "loss/a")] == [1, 0.5, 1 / 3]
    files = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert {"study.yaml", "metrics.json", "tables", "figures"} == files
    assert [file.path for file in client.list_artifacts(found.info.run_id, "tables")] == ["tables/models.csv"]


def test_wandb_reads_it_offline_and_nothing_of_the_machine_is_in_it(run: Run, tmp_path: Path, nowhere: None) -> None:
    normfed("export", run.folder, "--wandb-offline", tmp_path / "there")
    (written,) = (tmp_path / "there").glob("wandb/offline-run-*/run-*.wandb")
    records = list(wandb_records(written))
    logged = [item for record in records for item in record.history.item]
    losses = [json.loads(item.value_json) for item in logged if (item.key or "/".join(item.nested_key)) == "loss/a"]
    assert losses == [1.0, 0.5, pytest.approx(1 / 3)]
    (begun,) = (record.run for record in records if record.HasField("run"))
    assert (begun.project, begun.display_name) == ("normfed", run.folder.name)
    assert begun.host == "normfed"
    files = {path.relative_to(written.parent / "files").as_posix() for path in written.parent.glob("files/**/*.*")}
    assert {"tables/models.csv", "figures/roc.png", "study.yaml"} <= files
    assert not [
        path for path in written.parent.glob("files/**/*") if path.is_symlink()
    ]  # to what may be gone when sent
    assert not [name for name in files if "patients" in name or name in ("report.html", "wandb-metadata.json")]


def wandb_records(path: Path) -> Iterator[Any]:
    """What W&B wrote: protocol buffers in LevelDB's log format, after 7 bytes of a header."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def test_patients_are_passed_on_when_asked_for(run: Run, tmp_path: Path) -> None:
    normfed("export", run.folder, "--mlflow", tmp_path / "mlruns", "--patients")
    assert list((tmp_path / "mlruns").glob("*/*/artifacts/tables/patients/patients.csv"))
    assert list((tmp_path / "mlruns").glob("*/*/artifacts/report.html"))


class Heard:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.ended: list[str] = []

    def parameters(self, told: Any) -> None:
        self.ended.append("parameters")

    def scalars(self, told: Any, step: int, time_s: float | None) -> None:
        self.steps.append(step)

    def finals(self, told: Any) -> None:
        self.ended.append("finals")

    def artefacts(self, root: Path, paths: list[Path]) -> None:
        self.ended.append("artefacts")

    def close(self, whole: bool) -> None:
        self.ended.append("closed" if whole else "closed, not whole")


def test_a_run_is_followed_round_by_round_until_its_report_is_written(study: StudyConfig, tmp_path: Path) -> None:
    run, heard, seen = runs.begin(study, tmp_path), Heard(), []
    lines = [RoundDone.of("federated", 3, entry).line() for entry in history(*ROUNDS)]

    def happens() -> Iterator[Callable[[], object]]:
        events = run.folder / "events.jsonl"
        yield lambda: events.write_text(lines[0] + "\n" + lines[1][:20])
        yield lambda: events.write_text("\n".join(lines[:2]) + "\n")
        yield lambda: (
            events.write_text("\n".join(lines) + "\n"),
            layout.write(run.folder, run_results(ROUNDS, **metrics())),
        )
        yield lambda: (run.folder / "report.html").write_text("x")

    world = happens()

    def wait(_: float) -> None:
        seen.append(len(heard.steps))
        next(world)()

    passing.follow(run, heard, patients=False, wait=wait)
    assert heard.steps == [1, 2, 3]
    assert seen == [0, 1, 2, 3]
    assert heard.ended == ["parameters", "finals", "artefacts"]


@pytest.mark.parametrize("also", ["", "the report fails"])
def test_a_run_whose_report_does_not_come_is_passed_on_without(study: StudyConfig, tmp_path: Path, also: str) -> None:
    run, heard, waits = runs.begin(study, tmp_path), Heard(), []
    layout.write(run.folder, run_results(ROUNDS, **metrics()))
    if also:  # one of before the figures
        (run.folder / "report.html").touch()
        os.utime(run.folder / "report.html", (0, 0))
    passing.follow(run, heard, patients=False, wait=waits.append)
    assert sum(waits) == passing.REPORT_S
    assert heard.ended == ["parameters", "finals", "artefacts"]


def test_following_ends_with_a_run_that_fails_and_not_with_another_model_or_where_it_was_resumed(
    study: StudyConfig, tmp_path: Path
) -> None:
    run, heard = runs.begin(study, tmp_path), Heard()
    rounds = [RoundDone.of("federated", 3, entry) for entry in history(*ROUNDS)]
    log = EventLog(run.folder / "events.jsonl")
    happens = [
        Failed(arm="federated", why="Site b refuses."),
        Failed(arm="ditto", why="Not a number."),
        Failed(arm="federated", why="Site c refuses."),
    ]
    log.say(rounds[0])
    log.say(happens[0])
    log.say(rounds[1])  # resumed

    def wait(_: float) -> None:
        log.say(happens.pop(1))

    with pytest.raises(RunError, match=r"ended without figures. Site c refuses. Resume the run, and export it again."):
        passing.follow(run, heard, patients=False, wait=wait)
    assert heard.steps == [1, 2]
    assert heard.ended == ["parameters"]


def test_following_ends_with_a_run_that_the_operator_stops_or_somebody_removes(
    study: StudyConfig, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / LEDGER)
    run = runs.begin(study, tmp_path / "runs")
    ledger.add(run.folder.name)
    with pytest.raises(RunError, match="The operator stopped it"):
        passing.follow(run, Heard(), patients=False, wait=lambda _: ledger.set(run.folder.name, State.STOPPED))
    ledger.set(run.folder.name, State.OPEN)
    with pytest.raises(RunError, match="Its folder was removed"):
        passing.follow(run, Heard(), patients=False, wait=lambda _: shutil.rmtree(run.folder))


def test_following_ends_with_a_run_that_failed_for_good_though_its_events_do_not_say_so(
    study: StudyConfig, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / LEDGER)
    run = runs.begin(study, tmp_path / "runs")
    ledger.add(run.folder.name)

    def wait(_: float) -> None:
        ledger.set(run.folder.name, State.FAILED, "Its process was killed 5 times in the same round.")

    with pytest.raises(RunError, match=r"ended without figures. It failed: Its process was killed 5 times"):
        passing.follow(run, Heard(), patients=False, wait=wait)


def test_following_ends_once_nobody_has_worked_on_a_run_for_a_while(study: StudyConfig, tmp_path: Path) -> None:
    run, waits = runs.begin(study, tmp_path), list[float]()
    with pytest.raises(RunError, match=r"Nothing has worked on it for a minute: .* Resume the run"):
        passing.follow(run, Heard(), patients=False, wait=waits.append)
    assert sum(waits) == passing.GONE_S


@pytest.mark.parametrize("who", ["its process", "its server"])
def test_whoever_is_at_work_is_waited_for(study: StudyConfig, tmp_path: Path, who: str) -> None:
    ledger, heard, waited = Ledger(tmp_path / LEDGER), Heard(), list[float]()
    run = runs.begin(study, tmp_path / "runs")
    ledger.add(run.folder.name)
    with at_work(run.folder) if who == "its process" else only_one(tmp_path / "log", "a server"):

        def wait(seconds: float) -> None:
            waited.append(seconds)
            if sum(waited) == 2 * passing.GONE_S:
                layout.write(run.folder, run_results(ROUNDS, **metrics()))
                (run.folder / "report.html").touch()

        passing.follow(run, heard, patients=False, wait=wait)
    assert heard.ended == ["parameters", "finals", "artefacts"]
    assert sum(waited) == 2 * passing.GONE_S


def test_what_cannot_be_exported_is_one_sentence(run: Run, study: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Say where to: --mlflow URI"):
        normfed("export", run.folder)
    unfinished = runs.begin(study, tmp_path)
    with pytest.raises(RunError, match=r"not finished. Add --follow"):
        normfed("export", unfinished.folder, "--tensorboard", tmp_path / "board")
    with pytest.raises(RunError, match="nothing of single patients"):
        normfed("export", unfinished.folder, "--tensorboard", tmp_path / "board", "--patients", "--follow")


def test_an_mlflow_server_that_is_not_there_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=rf"--mlflow http://127.0.0.1:{port}: cannot be used \(") as caught:
        normfed("export", run.folder, "--mlflow", f"http://127.0.0.1:{port}")
    assert "\n" not in str(caught.value)


def failing(error: BaseException) -> Any:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    return fails


def test_a_library_that_is_not_there_is_named_with_the_extra_and_what_was_opened_is_closed() -> None:
    heard = Heard()
    asked = [
        Asked("--tensorboard", "board", lambda: heard),
        Asked("--mlflow", "mlruns", failing(ModuleNotFoundError("No module named 'mlflow'", name="mlflow"))),
    ]
    with (
        pytest.raises(UserError, match=r"mlflow is not installed. Run: .*pip install .*\[export\]'$"),
        Together(asked),
    ):
        pytest.fail("is open")
    assert heard.ended == ["closed, not whole"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(PermissionError(13, "Permission denied"), "FAILED"), (KeyboardInterrupt(), "FAILED"), (None, "FINISHED")],
)
def test_an_export_that_ends_early_is_no_finished_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, status: str
) -> None:
    if error is not None:
        monkeypatch.setattr(telling, "artefacts", failing(error))
    place = tmp_path / type(error).__name__  # MLflow keeps what it knows of a folder, which may have had that name
    with contextlib.suppress(OSError):
        normfed("export", run.folder, "--mlflow", place)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=place.as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("normfed").experiment_id])
    assert found.info.status == status


def test_what_a_tracker_raises_is_one_sentence_and_our_own_faults_stay_faults() -> None:
    from mlflow.exceptions import MlflowException

    heard = Heard()
    asked = [Asked("--mlflow", "http://there", lambda: heard)]
    told = MlflowException("http://me:secret@there/api\n timed out")
    for error, kind, text in (
        (told, UserError, r"^--mlflow http://there: cannot be used \(http://there/api timed out\)\. Give another"),
        (PermissionError(13, "Permission denied"), UserError, r"cannot be used \(\[Errno 13\] Permission denied\)"),
        (ZeroDivisionError("ours"), ZeroDivisionError, "^ours$"),
    ):
        heard.finals = failing(error)  # type: ignore[method-assign]
        with pytest.raises(kind, match=text), Together(asked) as together:
            together.finals({})
    assert heard.ended == ["closed, not whole"] * 3


@pytest.mark.parametrize(
    ("option", "look"),
    [
        ("--tensorboard", "tensorboard --logdir 'my logs'"),
        ("--mlflow", "mlflow ui --backend-store-uri 'my logs' "),
        ("--wandb-offline", "wandb sync 'my logs'/wandb/offline-run-*"),
    ],
)
def test_an_export_ends_with_where_it_is_and_how_people_look_at_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, look: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = normfed("export", run.folder, option, "my logs")
    assert shown.stdout.splitlines() == ["my logs"]  # scripts read it
    assert look in shown.stderr


def test_a_password_is_not_shown(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_server, "Mlflow", lambda *_: Heard())
    shown = normfed("export", run.folder, "--mlflow", "https://me:secret@there:5000/mlflow").output
    assert "https://there:5000/mlflow\n" in shown
    assert "secret" not in shown
    shown = normfed("export", run.folder, "--mlflow", "https://me:se@cr@et@there:5000/mlflow").output
    assert "https://there:5000/mlflow\n" in shown  # as whoever connects reads it, to the last @
    assert "cr" not in shown.split("https://")[1].split()[0]
