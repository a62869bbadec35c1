"""reproduction.html and reproduction.md."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from normfed_common.foundation.files import write_text
from normfed_server.report.rendering import templates
from normfed_server.report.words import interval
from normfed_simulation.reproduction import table
from normfed_simulation.reproduction.layout import Reproduction

FILE, MARKDOWN = "reproduction.html", "reproduction.md"


def write_pages(folder: Path, found: Reproduction) -> Path:
    """Write both into the folder; returns the path of the HTML page."""
    environment = templates("normfed_simulation.reproduction", trim_blocks=True)
    page = environment.get_template("reproduction.html.jinja").render(
        found=found,
        made_up=table.MADE_UP,
        words=table,
        interval=interval,
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )
    write_text(folder / MARKDOWN, table.markdown(found))
    write_text(folder / FILE, page)
    return folder / FILE
