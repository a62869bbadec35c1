"""Whether the monitor can be looked at without a token, with an old one, or by another's cookie."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from operator_keys import server
from starlette.testclient import TestClient

from normfed_common.foundation.errors import UserError
from normfed_server.monitor import admittance
from normfed_server.monitor.web import application
from normfed_server.state import tokens
from normfed_server.state.folder import ServerHome

PATHS = ("/", "/state", "/metrics", "/events", "/page.js", "/runs/x/report.html", "/nowhere")


@pytest.fixture
def closed(home: ServerHome) -> ServerHome:
    return ServerHome(home.folder, home.config.model_copy(update={"monitor_token": "required"}))


def client(home: ServerHome, **headers: str) -> TestClient:
    return TestClient(application(home, lambda: True), base_url="http://127.0.0.1", headers=headers)


@pytest.mark.parametrize("given", ["", "?token=", "?token=guess", "?token=\xff"])
def test_without_a_token_nothing_is_told(closed: ServerHome, given: str) -> None:
    tokens.make(closed, "", 1)
    for path in PATHS:
        answer = client(closed).get(path + given)
        assert answer.status_code == 401, path
        assert "normfed server token" in answer.text
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    for header in ({"authorization": "Bearer guess"}, {"authorization": "Bearer"}, {"cookie": "normfed-8080=guess"}):
        assert client(closed, **header).get("/state").status_code == 401
    assert client(closed).get("/healthz").text == "ok\n"  # what watches the process has no token


def test_an_address_with_a_token_opens_the_page_and_the_token_leaves_the_address(closed: ServerHome) -> None:
    token = tokens.make(closed, "", 1)
    browser = client(closed)
    answer = browser.get(f"/?token={token}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert browser.get("/state").status_code == 200
    assert client(closed).get(f"/state?token={token}").status_code == 401  # in no address but the first
    assert client(closed, authorization=f"Bearer {token}").get("/metrics").status_code == 200


def test_elsewhere_than_on_the_machine_the_cookie_needs_tls(closed: ServerHome) -> None:
    proxied = ServerHome(closed.folder, closed.config.model_copy(update={"monitor_hosts": ("status.example.org",)}))
    address = f"/?token={tokens.make(closed, '', 1)}"
    outside = client(proxied).get(address, headers={"host": "status.example.org"}, follow_redirects=False)
    assert "secure" in outside.headers["set-cookie"].lower()
    assert "secure" not in client(proxied).get(address, follow_redirects=False).headers["set-cookie"].lower()


def test_a_token_ends_by_itself_or_when_it_is_revoked(closed: ServerHome, monkeypatch: pytest.MonkeyPatch) -> None:
    token, other = tokens.make(closed, "anna", 1), tokens.make(closed, "bert", 3)
    scope = {"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]}
    assert admittance.admitted(closed, scope)  # as what is served for long asks again
    (which,) = [known.id for known in tokens.valid(closed) if known.by == "anna"]
    tokens.revoke(closed, which)
    assert not admittance.admitted(closed, scope)
    with pytest.raises(UserError, match="No token is"):
        tokens.revoke(closed, which)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(hours=4)

    assert tokens.admits(closed, other)
    monkeypatch.setattr(tokens, "datetime", Later)
    assert not tokens.admits(closed, other)


def test_the_token_itself_is_nowhere_in_the_folder(home: ServerHome) -> None:
    printed = server("token", "--hours", "2", "--home", home.folder).output
    token = printed.partition("?token=")[2].split()[0]
    assert len(token) > 40
    assert tokens.admits(home, token)
    for path in home.folder.rglob("*"):
        assert not path.is_file() or token not in path.read_text(errors="replace"), path
    listed = server("token", "--list", "--home", home.folder).output.split()[0]
    server("token", "--revoke", listed, "--home", home.folder)
    assert not tokens.admits(home, token)


def test_a_damaged_list_of_tokens_lets_nobody_in(closed: ServerHome) -> None:
    token = tokens.make(closed, "", 1)
    closed.tokens.write_text("{}x")
    assert client(closed, authorization=f"Bearer {token}").get("/state").status_code == 401


def test_federations_on_one_machine_do_not_share_a_cookie(home: ServerHome) -> None:
    """A browser sends a cookie to every port of a machine."""
    other = ServerHome(Path(), home.config.model_copy(update={"monitor_port": 8081}))
    assert admittance.cookie(home) != admittance.cookie(other)
