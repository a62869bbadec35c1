"""The bill of materials of a kit, in CycloneDX JSON, and its table of licences."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from normfed_common.foundation.errors import NormfedError
from normfed_deploy.kit.wheels import Wheel

OWN = "normfed"
UNSAID = "not said by its maker"


def bill(wheels: Sequence[Wheel], python: str, moment: datetime) -> str:
    """All wheels with versions, hashes, licences and what each depends on: CycloneDX 1.6, checked against its schema.

    Parameters
    ----------
    moment
        Of the kit; with the same wheels the same bill.

    Raises
    ------
    NormfedError
        If the bill does not follow the schema.
    """
    components = {wheel.name: _component(wheel) for wheel in wheels}
    mark = "".join(sorted(wheel.sha256 for wheel in wheels))
    bom = Bom(
        components=[component for name, component in components.items() if name != OWN],
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, mark),
        metadata=BomMetaData(component=components[OWN], timestamp=moment),
    )
    for wheel in wheels:
        needed = [components[name] for name in wheel.needs(python) if name in components]
        bom.register_dependency(components[wheel.name], needed)
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong:
        raise NormfedError(f"sbom.cdx.json does not follow CycloneDX 1.6: {wrong}")
    return text


def _component(wheel: Wheel) -> Component:
    licence = wheel.licence()
    return Component(
        name=wheel.name,
        version=wheel.version,
        type=ComponentType.APPLICATION if wheel.name == OWN else ComponentType.LIBRARY,
        bom_ref=f"{wheel.name}=={wheel.version}",
        purl=PackageURL("pypi", name=wheel.name, version=wheel.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=wheel.sha256)],
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
    )


def licences(wheels: Sequence[Wheel]) -> str:
    """A table in Markdown."""
    rows = [f"| {wheel.name} | {wheel.version} | {wheel.licence() or UNSAID} |" for wheel in wheels]
    return "\n".join(["# Licences", "", "| package | version | licence |", "|---|---|---|", *rows, ""])
