"""A run's report in a browser: on a phone, in the dark, sorted, printed; what is not as it should be ends with code 1.

apt install chromium chromium-driver poppler-utils
python deploy/checks/report.py RUN PICTURES
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from pictures import Browser, browser

PHONE, DESK = 320, 1200
CONTRAST = 4.5  # at least, of text on its ground (WCAG 2.2, level AA)
# The least contrast of texts on the page, and where it is; grounds are of one colour.
LEAST_CONTRAST = """
const part = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const light = c => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
const colour = text => text.match(/[0-9.]+/g).map(Number);
const ground = e => { for (; e; e = e.parentElement) { const c = colour(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
let least = [21, ""];
for (const e of document.querySelectorAll("body *:not(svg *)")) {
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.offsetParent) continue;
  const [a, b] = [light(colour(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
  const found = (a + 0.05) / (b + 0.05);
  if (found < least[0]) least = [found, `${e.tagName} ${e.className} ${e.textContent.slice(0, 40)}`];
}
return least;
"""
SORTED = """
const table = document.querySelector("table.sortable");
if (!table) return null;
const heads = [...table.tHead.rows[0].cells], at = heads.findIndex(h => h.textContent.trim() === "AUROC");
const button = heads[at].querySelector("button");
const values = () => [...table.tBodies[0].rows].map(r => r.cells[at].textContent.trim()).filter(Boolean).map(Number);
const found = [];
for (let turn = 0; turn < 2; turn++) { button.click(); found.push([heads[at].getAttribute("aria-sort"), values()]); }
return found;
"""


def main() -> None:
    """Look at the report of a run folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("pictures", type=Path)
    chosen = parser.parse_args()
    chosen.pictures.mkdir(parents=True, exist_ok=True)
    address = (chosen.run / "report.html").resolve().as_uri()
    with browser(chosen.pictures) as seen:
        wrong = [*on_a_phone(seen, address), *at_a_desk(seen, address)]
    print_page(address, chosen.pictures)
    for text in wrong:
        print(f"WRONG: {text}")
    raise SystemExit(1 if wrong else 0)


def on_a_phone(seen: Browser, address: str) -> list[str]:
    """Nothing but tables and plots in their own boxes is wider than the page."""
    seen.resize(PHONE, 700)
    seen.open(address)
    wide = seen.run("return document.documentElement.scrollWidth")
    seen.picture("phone", PHONE)
    return [f"{PHONE} pixels wide the page scrolls sideways, to {wide}"] if wide > PHONE else []


def at_a_desk(seen: Browser, address: str) -> list[str]:
    """Texts can be read, bright and dark, and the table of patients is sorted by its heads."""
    wrong = []
    for scheme in ("light", "dark"):
        seen.prefer(scheme)
        seen.resize(DESK, 900)
        seen.open(address)
        found, where = seen.run(LEAST_CONTRAST)
        print(f"  {scheme}: the least contrast is {found:.1f}, of {where}")
        wrong += [f"{scheme}: contrast {found:.2f} of {where}"] if found < CONTRAST else []
        seen.picture(scheme, DESK)
    turns = seen.run(SORTED)
    expected = [("descending", True), ("ascending", False)]
    for (said, values), (word, reverse) in zip(turns or [], expected, strict=False):
        if said != word or values != sorted(values, reverse=reverse):
            wrong.append(f"patients are not sorted {word} by AUROC: {said}, {values}")
    return wrong


def print_page(address: str, out: Path) -> None:
    """As PDF, and its pages as pictures, for somebody to look at."""
    pdf = out / "report.pdf"
    flags = ["--headless", "--no-sandbox", "--no-pdf-header-footer", "--virtual-time-budget=8000"]
    subprocess.run(["chromium", *flags, f"--print-to-pdf={pdf}", address], check=True, capture_output=True)
    subprocess.run(["pdftoppm", "-png", "-r", "60", str(pdf), str(out / "page")], check=True)


if __name__ == "__main__":
    main()
