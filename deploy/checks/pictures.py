"""What a person saw, as pictures: of a page in a browser, and of a command in a terminal of 80 columns.

Needs Debian's packages `chromium` and `chromium-driver`; the browser is spoken to by the W3C's WebDriver protocol.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

from normfed_common.processes.health import free_port

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name of an element's handle
COLUMNS, WIDTH, COLOURS = 80, 1000, 48
TERMINAL = (
    "<!DOCTYPE html><meta charset=utf-8><style>{stylesheet} body {{margin: 12px 16px; width: max-content}} "
    "pre {{font: 14px/1.35 'DejaVu Sans Mono', monospace; margin: 0}}</style><pre>{code}</pre>"
)


class Browser:
    """A headless Chromium, driven as a person would: open, click, type, look.

    Parameters
    ----------
    out
        Folder of the pictures.
    """

    def __init__(self, port: int, out: Path) -> None:
        self._driver, self._out = f"http://127.0.0.1:{port}", out
        arguments = ["--headless=new", "--hide-scrollbars", "--force-device-scale-factor=1"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # Chromium has none for root
        options = {"goog:chromeOptions": {"args": arguments}}
        started = self._say("POST", "/session", {"capabilities": {"alwaysMatch": options}})
        self._session = f"/session/{started['sessionId']}"

    def open(self, address: str) -> None:
        """Go there."""
        self._say("POST", f"{self._session}/url", {"url": address})

    def click(self, words: str) -> None:
        """What has these words on it."""
        path = f"//*[self::a or self::button or self::summary][starts-with(normalize-space(), '{words}')]"
        self._say("POST", f"{self._session}/element/{self._find('xpath', path)}/click", {})

    def type(self, field: str, text: str) -> None:
        """Into a form's field, by its name, instead of what stands there."""
        found = self._find("css selector", f"[name={field}]")
        self._say("POST", f"{self._session}/element/{found}/clear", {})
        self._say("POST", f"{self._session}/element/{found}/value", {"text": text})

    def text(self) -> str:
        """All that can be read."""
        return str(self.run("return document.body.innerText"))

    def address(self) -> str:
        """Where it is."""
        return str(self._say("GET", f"{self._session}/url"))

    def picture(self, name: str, width: int = WIDTH, least: int = 0, most: int = 10_000) -> None:
        """The whole page, or its top ``most`` pixels; few colours, so that it is small."""
        self.resize(width, 100)
        wide, high = self.run(
            "const e = document.documentElement, b = document.body;"
            "return [Math.ceil(b.getBoundingClientRect().right), e.scrollHeight]"
        )
        self.resize(width if not least else max(least, wide + 16), min(high, most))
        seen = base64.b64decode(self._say("GET", f"{self._session}/screenshot"))
        path = self._out / f"{name}.png"
        Image.open(io.BytesIO(seen)).convert("RGB").quantize(COLOURS).save(path, optimize=True)
        print(f"  {path} ({path.stat().st_size / 1000:.0f} kB)", flush=True)

    def quit(self) -> None:
        """End it."""
        self._say("DELETE", self._session)

    def resize(self, width: int, height: int) -> None:
        """The window, to so many pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        said = {"cmd": "Emulation.setDeviceMetricsOverride", "params": size}
        self._say("POST", f"{self._session}/goog/cdp/execute", said)

    def prefer(self, scheme: str) -> None:
        """``dark`` or ``light`` pages."""
        said = {
            "cmd": "Emulation.setEmulatedMedia",
            "params": {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        }
        self._say("POST", f"{self._session}/goog/cdp/execute", said)

    def run(self, script: str) -> Any:
        """What a script on the page returns."""
        return self._say("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def _find(self, how: str, what: str) -> str:
        return str(self._say("POST", f"{self._session}/element", {"using": how, "value": what})[ELEMENT])

    def _say(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self._driver + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"The browser: {json.load(error)['value']['message'].splitlines()[0]}") from error


@contextmanager
def browser(out: Path) -> Iterator[Browser]:
    """A browser while the context lasts."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"Not here: {', '.join(missing)}. Install Debian's packages chromium and chromium-driver.")
    port = free_port()
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        found = _once_it_listens(port, out)
        yield found
        found.quit()
    finally:
        driver.terminate()
        driver.wait()


def _once_it_listens(port: int, out: Path, within_s: float = 60) -> Browser:
    deadline = time.monotonic() + within_s
    while True:
        try:
            return Browser(port, out)
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class Terminal:
    """Commands as a person typed them, and what they said, in colours.

    Parameters
    ----------
    folder
        Where they are typed.
    before
        What each is run by, such as a command that takes the network away; not shown.
    """

    def __init__(self, folder: Path, before: tuple[str, ...] = (), environment: dict[str, str] | None = None) -> None:
        self.folder, self._before = folder, before
        self._environment = dict(os.environ) if environment is None else environment
        self._lines: list[str] = []

    def type(self, *command: str, code: int = 0) -> str:
        """Run one; returns what it says.

        Raises
        ------
        SystemExit
            If it ends with another exit code than expected.
        """
        coloured = {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
        done = subprocess.run(
            [*self._before, *command],
            cwd=self.folder,
            env=self._environment | coloured,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        typed = " ".join(f"'{word}'" if " " in word else word for word in command)
        self._lines += [f"\x1b[1m$ {typed}\x1b[0m", *done.stdout.rstrip("\n").split("\n"), ""]
        if done.returncode != code:
            raise SystemExit(f"{typed}: exit code {done.returncode}, not {code}\n{done.stdout}")
        return Text.from_ansi(done.stdout).plain

    def picture(self, shown: Browser, name: str) -> None:
        """Of all since the last picture."""
        console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False)
        for line in self._lines:
            console.print(Text.from_ansi(line), overflow="fold")  # as a terminal does: at the column, not at the word
        self._lines = []
        page = console.export_html(theme=DEFAULT_TERMINAL_THEME, code_format=TERMINAL)
        shown.open("data:text/html;charset=utf-8;base64," + base64.b64encode(page.encode()).decode())
        shown.picture(name, least=300)
