"""Try a model of one's own in this process, before it is a plug-in that hospitals install."""

from __future__ import annotations

from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_simulation.api.wording import spoken_in_python


@spoken_in_python
def try_model(name: str, model: type[NormativeModel]) -> None:
    """Let the studies of this process name a model: ``model: {name: ...}``.

    Called again with the same name, as when a notebook's cell is run twice, it puts the new class in the place of the
    old one. Nobody else knows of it: hospitals use what is installed as a plug-in.

    Parameters
    ----------
    name
        Lower-case letters and digits, with hyphens between words; none that normfed or a plug-in has.

    Raises
    ------
    PluginError
        If it is no such name, or the class is no `NormativeModel`.
    """
    MODELS.try_out(name, model)
