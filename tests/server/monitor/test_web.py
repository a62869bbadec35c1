"""Under which names the monitor answers: a page of somebody else must not read it through the operator's browser."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import pytest
from compared import metrics
from run_results import history, run_results
from starlette.testclient import TestClient

from normfed_common.foundation.errors import StudyError
from normfed_common.processes.health import free_port
from normfed_common.study.config import StudyConfig
from normfed_common.study.validation import validate
from normfed_server.monitor.web import Monitor, application
from normfed_server.report.page import write_report
from normfed_server.results import layout
from normfed_server.runs.folder import PRIVACY, REPORT, begin
from normfed_server.state.folder import ServerConfig, ServerHome, create

PATHS = ("/", "/state", "/metrics", "/healthz", "/events", "/page.js", "/nowhere")


REBOUND = (
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example:8080",
    "evil.example:127",
    "",
    "[::2]",
    ":80",
)


OWN = (
    "localhost",
    "127.0.0.1",
    "[::1]",
    "LOCALHOST:8080",
    "127.0.0.1:9",
    "[::1]:8080",
    "10.0.0.5",
    "status.example.org",
)


@pytest.fixture
def home(tmp_path: Path) -> ServerHome:
    config = ServerConfig(
        name="F",
        address="fed.example.org:8000",
        monitor_listen="10.0.0.5",
        monitor_hosts=("Status.example.org",),
        monitor_port=free_port(),
    )
    return create(tmp_path / "server", config)


@pytest.mark.parametrize("host", REBOUND)
def test_another_name_is_told_nothing_but_what_to_do(home: ServerHome, host: str) -> None:
    client = TestClient(application(home, lambda: True), base_url="http://127.0.0.1")
    for path in PATHS:
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 421, path
        assert "monitor_hosts in server.yaml" in answer.text
        assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("host", OWN)
def test_its_own_names_and_those_of_server_yaml_are_answered(home: ServerHome, host: str) -> None:
    client = TestClient(application(home, lambda: True), base_url="http://127.0.0.1")
    assert client.get("/healthz", headers={"host": host}).text == "ok\n"


@pytest.mark.parametrize("name", ["*", "a b", "http://a", "a/b", "a:80", ""])
def test_what_cannot_be_a_host_is_refused_in_server_yaml(name: str) -> None:
    with pytest.raises(StudyError, match="monitor_hosts"):
        validate(ServerConfig, {"name": "F", "address": "f:1", "monitor_hosts": [name]}, "server.yaml")


def test_a_rebound_name_on_the_real_port(home: ServerHome) -> None:
    """Byte by byte, as a browser would ask: also without a Host and with two."""
    local = ServerHome(home.folder, home.config.model_copy(update={"monitor_listen": "127.0.0.1"}))
    with Monitor(local, lambda: True):
        port = local.config.monitor_port
        assert _ask(port, f"Host: 127.0.0.1:{port}\r\n") == 200
        assert _ask(port, "Host: evil.example\r\n") == 421
        assert _ask(port, f"Host: evil.example:{port}\r\nX-Forwarded-Host: 127.0.0.1\r\n") == 421
        assert _ask(port, "") in (400, 421)
        assert _ask(port, "Host: 127.0.0.1\r\nHost: evil.example\r\n") in (400, 421)


def _ask(port: int, headers: str) -> int:
    deadline = time.monotonic() + 120
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 120) as connection:
                connection.sendall(f"GET /state HTTP/1.1\r\n{headers}Connection: close\r\n\r\n".encode())
                return int(connection.recv(100).split()[1])
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_the_monitor_speaks_to_browsers_prometheus_and_watchdogs(watched: tuple[ServerHome, str]) -> None:
    home, name = watched
    well: list[bool] = [True]
    client = TestClient(application(home, lambda: well[0]), base_url="http://127.0.0.1:8080")
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for reference in ("page.js", "page.css", "icon.svg"):
        assert reference in page.text
        assert client.get("/" + reference).status_code == 200
    assert "http" not in page.text  # nothing from anywhere else
    lines = client.get("/metrics").text.splitlines()
    assert 'normfed_site_connected{site="a"} 1.0' in lines
    assert f'normfed_run_round{{run="{name}"}} 2.0' in lines
    assert f'normfed_round_megabytes{{run="{name}",way="back"}} 3.0' in lines
    assert client.get("/healthz").status_code == 200
    well[0] = False
    assert client.get("/healthz").status_code == 503
    for method in ("post", "put", "delete"):
        assert getattr(client, method)("/state").status_code == 405


@pytest.mark.parametrize("key", ["privacy", "report"])
def test_a_page_of_a_run_is_served_where_it_reaches_nothing(watched: tuple[ServerHome, str], key: str) -> None:
    home, name = watched
    client = TestClient(application(home, lambda: True), base_url="http://127.0.0.1")
    address = f"/runs/{name}/{key}.html"
    assert client.get(address).status_code == 404
    assert client.get("/state").json()["runs"][0][key] is False
    (home.runs / name / f"{key}.html").write_text("<style>b {}</style>found")
    assert client.get("/state").json()["runs"][0][key] is True
    page = client.get(address)
    assert "found" in page.text
    assert page.headers["content-type"].startswith("text/html")
    policy = dict(part.partition(" ")[::2] for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"  # so no request, no frame, no worker
    assert policy["form-action"] == policy["frame-ancestors"] == "'none'"
    if key == "privacy":
        assert "script-src" not in policy
    else:  # a page whose scripts run must not be of this server's origin
        assert "allow-same-origin" not in policy["sandbox"]
    assert page.headers["x-content-type-options"] == "nosniff"


def test_every_link_of_a_runs_pages_leads_to_a_page_of_the_monitor(
    watched: tuple[ServerHome, str], study: StudyConfig, tmp_path: Path
) -> None:
    home, name = watched
    made = begin(study, tmp_path)
    layout.write(made.folder, run_results(**{**metrics(atlas=None), "rounds": history({})}))
    write_report(made)
    client = TestClient(application(home, lambda: True), base_url="http://127.0.0.1")
    for page in (PRIVACY, REPORT):
        (home.runs / name / page).write_bytes((made.folder / page).read_bytes())
    for page in (PRIVACY, REPORT):
        links = re.findall(r'<a href="([a-z]+\.html)"', client.get(f"/runs/{name}/{page}").text)
        assert links, page
        for link in links:
            assert client.get(f"/runs/{name}/{link}").status_code == 200, link


def test_no_other_file_of_a_run_is_served(watched: tuple[ServerHome, str]) -> None:
    home, name = watched
    (home.runs / name / "central.secret").write_text("never")
    (home.folder / "privacy.html").write_text("never")
    (home.runs / "stranger").mkdir()
    (home.runs / "stranger" / "privacy.html").write_text("never")
    client = TestClient(application(home, lambda: True), base_url="http://127.0.0.1")
    for path in (f"{name}/central.secret", "../privacy.html", "%2e%2e/privacy.html", "stranger/privacy.html"):
        answer = client.get(f"/runs/{path}")
        assert answer.status_code == 404, path
        assert "never" not in answer.text
