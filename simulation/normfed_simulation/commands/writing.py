"""`normfed init`: a commented study file, and the schema by which editors complete and check it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normfed_common import completing
from normfed_common.foundation.errors import StudyError
from normfed_common.wording.commands import as_typed


def init(
    like: Annotated[
        Path | None,
        typer.Option(
            help="Begin with the values of this study: a file, or a name; see `normfed studies`.",
            autocompletion=completing.studies,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Fill in this dataset's name, modalities, sites and healthy groups, and a model for them."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The study file to write.", show_default="study.yaml")
    ] = None,
    schema: Annotated[
        Path | None, typer.Option(help="Write only the JSON schema of studies, to this file; no study.")
    ] = None,
) -> None:
    """Write a study file in which every key is explained, with its default and what it may be."""
    from normfed_common.foundation.files import write_json
    from normfed_common.studies import load_study

    if like is not None:
        load_study(like)  # before what computes is loaded, which takes seconds

    from normfed_simulation.guidance import beginning
    from normfed_simulation.guidance.schema import FILE, study_schema

    if schema is not None:
        write_json(schema, study_schema())
        typer.echo(f"Schema: {schema}")
        return
    file = out or Path("study.yaml")
    if file.exists():
        raise StudyError(f"{file}: is there already. Choose another file with -o, or remove it.")
    name = data.resolve().name if data is not None and out is None else None
    begun = beginning.write(file, like, data, name)
    study = begun.study
    typer.echo(f"Study: {file}, called {study.name}, model {study.model['name']}")
    for reason in begun.reasons:
        typer.echo(reason)
    typer.echo(f"Schema for editors: {file.with_name(FILE)}")
    where = f" --data {data}" if data is not None else "" if study.data.made else " --data DIR"
    if where:
        typer.echo(as_typed(f"Who takes part: normfed inspect {data or 'DIR'} --study {file}"))
    typer.echo(as_typed(f"Run it:         normfed simulate {file}{where}"))
