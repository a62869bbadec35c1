"""`normfed cite`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normfed_common.foundation.errors import RunError


def cite(
    run: Annotated[
        Path | None, typer.Argument(help="A run folder, or a study file; without either: the software.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write there, to a .bib file, and not to the terminal.")] = None,
) -> None:
    """BibTeX of every method that a run used, with the software."""
    from normfed_common.foundation.files import write_text
    from normfed_common.studies import load_study
    from normfed_server.runs.folder import reopen
    from normfed_simulation import citing, people

    if run is None:
        found = citing.of_software()
    elif run.is_dir():
        opened = reopen(run)
        results = people.results(opened) if opened.finished else None
        resampled = results is None or results.intervals == "bootstrap"
        tested = results is not None and results.has_paired_tests
        found = citing.of_study(opened.study, resampled=resampled, tested=tested)
    elif run.exists():
        found = citing.of_study(load_study(run))
    else:
        raise RunError(f"{run}: is not there. Give a run folder, or a study file.")
    text = citing.text(found)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
        typer.echo(out)
