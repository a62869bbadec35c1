"""Who is in a dataset, as a frame."""

from __future__ import annotations

from pathlib import Path

import pandas

from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.cache import default_root
from normfed_simulation.api.calls import Study, asked
from normfed_simulation.api.places import Place
from normfed_simulation.api.wording import spoken_in_python
from normfed_simulation.datasets.recognition import as_bids
from normfed_simulation.splits import dividing
from normfed_simulation.taking_part import foreseen


@spoken_in_python
def inspect(data: Place, *, study: Study | None = None) -> pandas.DataFrame:
    """Who is in a dataset, by file names alone: a row for every visit.

    Parameters
    ----------
    data
        A BIDS dataset whose participants.tsv has a column `site`, or a public one as it came.
    study
        As in `simulate`: the sites as it has them, and who trains, is held out, tests.

    Returns
    -------
    With the columns

    - ``site``, ``subject``, ``session``, ``group``, ``age`` in years, ``sex``, ``scanner``: missing where not told;
    - ``modalities`` and ``lesions`` (kinds of masks): names with commas; ``brain_mask``: whether there is one.

    With a study also ``roles`` (`train`, `held_out`, `test`) and ``left_out``, why somebody has none; both are missing
    where the study names a site or a person that is not there. ``attrs["why_not"]`` is why the study cannot begin with
    these people, empty where it can.

    What cannot be used, and why, is in ``attrs["problems"]``: pairs of what and why.

    Raises
    ------
    DatasetError
        If there is no such dataset.
    StudyError
        If the study cannot be read, or these people cannot be divided as it says.
    """
    resolved = None if study is None else asked(study, {})
    root = as_bids(Path(data), resolved)
    dataset = read_dataset(root if resolved is None else dividing.view(root, resolved, default_root()))
    columns = ["site", "subject", "session", "group", "age", "sex", "scanner", "modalities", "brain_mask", "lesions"]
    frame = pandas.DataFrame(
        [
            (
                visit.participant.site,
                visit.participant.subject,
                visit.session,
                visit.participant.group or None,
                visit.participant.age,
                visit.participant.sex,
                visit.participant.scanner,
                ", ".join(sorted(visit.images)),
                visit.brain is not None,
                ", ".join(sorted({mask.label for mask in visit.lesions})),
            )
            for visit in dataset.visits
        ],
        columns=columns,
    ).astype({"age": float})
    if resolved is not None:
        cast = foreseen(resolved, dataset)
        roles = {part.subject: ", ".join(part.roles) or None for part in cast.parts}
        reasons = {part.subject: part.why or None for part in cast.parts}
        frame["roles"] = [roles.get(subject) for subject in frame["subject"]]
        frame["left_out"] = [reasons.get(subject) for subject in frame["subject"]]
        frame.attrs["why_not"] = cast.why_not
    frame.attrs["problems"] = [(problem.what, problem.why) for problem in dataset.problems]
    return frame
