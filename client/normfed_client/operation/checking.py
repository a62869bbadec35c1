"""Is a hospital ready? Every finding says what is wrong and how to fix it."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version

import psutil
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from normfed_client.hospital import plugins
from normfed_client.hospital.bookkeeping.budget import spent, within_a_year
from normfed_client.hospital.folder import Hospital
from normfed_client.hospital.neighbours import neighbours
from normfed_client.hospital.withdrawn import dataset_of
from normfed_client.imaging.bids import people_without
from normfed_client.operation.link import Finding, link
from normfed_client.operation.status import status
from normfed_client.withdrawal.people import check_list
from normfed_common.deployment import bundle
from normfed_common.deployment.enrolment import key_fingerprint
from normfed_common.foundation.errors import DatasetError, UserError
from normfed_common.foundation.registry import canonical
from normfed_common.foundation.units import GIGABYTE
from normfed_common.foundation.versions import PROTOCOL

DISK_GB, MEMORY_GB = 5.0, 4.0
SHOWN_FAULTS = 5


def examine(hospital: Hospital, opening_scans: bool) -> Iterator[Finding]:
    """Look at everything that a federation needs of a hospital, one finding after another."""
    yield _secrets(hospital)
    yield from _versions(hospital)
    yield from let_in(hospital)
    reached = list(link(hospital))
    yield from reached
    if all(finding.severity < 2 for finding in reached):
        yield _admitted(hospital)
    yield from _privacy(hospital)
    yield from secure_sums(hospital)
    yield from counted_apart(hospital)
    yield from _machine(hospital)
    yield from _data(hospital, opening_scans)
    yield from looked_at(hospital)


def _secrets(hospital: Hospital) -> Finding:
    try:
        hospital.check()
        check_list(hospital)
    except UserError as error:
        return Finding(2, "key, records", "not in order: nothing would be released", str(error))
    try:
        public = serialization.load_ssh_private_key(hospital.key.read_bytes(), None).public_key()
        fingerprint = key_fingerprint(
            public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        )
    except (ValueError, UnsupportedAlgorithm):
        return Finding(2, "key", "site.key is not an elliptic-curve key", "Join again with normfed site join.")
    found = f"{hospital.key}, for its owner only; the record of releases and the ledger are in order"
    return Finding(0, "key", f"{found}. Its fingerprint: {fingerprint}")


def _privacy(hospital: Hospital) -> Iterator[Finding]:
    """Whether there is a budget, where studies must have differential privacy."""
    rules = hospital.config
    if rules.limited:
        try:
            entries = hospital.ledger().entries()
        except UserError as error:
            yield Finding(2, "privacy", "the ledger cannot be used", str(error))
            return
        limits = {"within 365 days": rules.epsilon_per_year, "for life": rules.epsilon_for_life}
        text = ", ".join(f"{limit:g} {when}" for when, limit in limits.items() if limit is not None)
        counted = within_a_year(entries, entries[-1].time) if entries else []
        found = f"epsilon of all studies at most {text}; {spent(counted, rules.budget_delta):.3g} in the latest year"
        yield Finding(0, "privacy", found)
    elif rules.largest_epsilon is not None:
        yield Finding(
            1,
            "privacy",
            f"a model may spend an epsilon of {rules.largest_epsilon:g}, and nothing says how many models may",
            "Every model of every study costs anew. Write a budget into site.yaml, such as:",
            f"epsilon_per_year: {2 * rules.largest_epsilon:g}",
        )
    else:
        text = "no budget, and studies without differential privacy are served, too (see epsilon_per_year of site.yaml)"
        yield Finding(0, "privacy", text)


def secure_sums(hospital: Hospital) -> Iterator[Finding]:
    """Whether there are peers enough for the secure sums that this hospital's own rules ask for."""
    rules = hospital.config
    known, vouched = len(rules.peers), rules.noise_from_sites or 1
    needed = max(rules.minimum_sites_in_sum, vouched) - 1
    if known >= needed:
        yield Finding(
            0, "secure sums", f"with {known} peers; a sum is over {rules.minimum_sites_in_sum} sites at least"
        )
    elif known or rules.require_secure_aggregation or rules.noise_from_sites is not None:
        yield Finding(
            2 if rules.require_secure_aggregation else 1,
            "secure sums",
            f"site.yaml lists {known} peers, and its own rules need {needed} (minimum_sites_in_sum, noise_from_sites, "
            "less one): studies with secure aggregation that need so many are refused",
            "Compare fingerprints with the other hospitals by telephone, and write each under peers of site.yaml:",
            f'  SITE: "{"0000 " * 7}0000"',
        )


def counted_apart(hospital: Hospital) -> Iterator[Finding]:
    """Other folders over the same people, whose ledgers do not know of each other."""
    for folder in neighbours(hospital):
        yield Finding(
            1,
            "records",
            f"{folder} serves people of the same dataset, with a ledger and a record of releases of its own: what the "
            "two tell of a person adds up, and neither knows",
            "In the folder that has released nothing yet (normfed site releases), write into site.yaml:",
            f"records: {folder}",
        )


def looked_at(hospital: Hospital) -> Iterator[Finding]:
    """Whether the cohort passed a look, where studies wait for it."""
    from normfed_client.quality.standing import COMMAND, why_not

    rule = hospital.config.quality_gate
    if rule == "off":
        yield Finding(0, "quality", "studies learn from the cohort without a look at it (quality_gate: off)")
        return
    try:
        why = why_not(hospital, (), ())
    except UserError as error:
        yield Finding(2 if rule == "required" else 1, "quality", "the look cannot be used", str(error))
        return
    if why:
        yield Finding(1, "quality", f"training and sums wait (quality_gate: {rule}): {why}")
    else:
        yield Finding(0, "quality", f"the cohort was looked at, and nobody waits for a decision ({COMMAND})")


def _versions(hospital: Hospital) -> Iterator[Finding]:
    found = f"normfed {version('normfed')} (protocol {PROTOCOL}), flwr {version('flwr')}"
    found += f", Python {platform.python_version()}"
    if bundle.digest() in hospital.config.bundles:
        yield Finding(0, "versions", found)
        return
    yield Finding(
        1,
        "versions",
        f"{found}; site.yaml does not list this protocol's bundle",
        f"If the operator announced protocol {PROTOCOL}, add to `bundles` in site.yaml:",
        bundle.digest(),
    )


def let_in(hospital: Hospital) -> Iterator[Finding]:
    """Every plug-in that is installed or listed, and whether it is let in."""
    here = plugins.installed()
    listed = {canonical(name): version for name, version in hospital.config.plugins.items()}
    for name, found in here.items():
        text = f"{found.plugin} ({found.adds})"
        if listed.get(name) == found.plugin.version:
            yield Finding(0, "plug-in", f"{text}: let in")
            continue
        other = f"; site.yaml lists its version {listed[name]}" if name in listed else ""
        cure = "To let it in, write under `plugins` in site.yaml:"
        line = f"  {name}: '{found.plugin.version}'"
        yield Finding(1 if other else 0, "plug-in", f"{text}: not let in{other}", cure, line)
    for name in sorted(listed.keys() - here.keys()):
        text = f"site.yaml lets {name} {listed[name]} in, which is not installed"
        yield Finding(1, "plug-in", text, "Install it, or take it out of `plugins` in site.yaml.")


def _admitted(hospital: Hospital) -> Finding:
    """Whether the server knows the key: asked of the running client, or else by connecting for a moment."""
    now = status(hospital)
    if now.running:
        return Finding(0 if now.well else 2, "admission", f"the client runs: {now.sentence}")
    import httpx
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    from normfed_client.operation.flower import (
        ActivateNodeRequest,
        DeactivateNodeRequest,
        FleetHttpClient,
        NodeAuthHttpInterceptor,
        RuntimeVersionHttpInterceptor,
        public_key_to_bytes,
    )

    key = load_ssh_private_key(hospital.key.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return Finding(2, "admission", "site.key is not an elliptic-curve key", "Join again with normfed site join.")
    public = public_key_to_bytes(key.public_key())
    client = FleetHttpClient.from_server_address(
        hospital.config.server,
        insecure=False,
        root_certificates=str(hospital.ca),
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ],
    )
    try:
        node = client.ActivateNode(ActivateNodeRequest(public_key=public, heartbeat_interval=30)).node_id
        client.DeactivateNode(DeactivateNodeRequest(node_id=node))
    except httpx.HTTPStatusError:
        return Finding(
            2,
            "admission",
            "the server does not let this hospital's key in",
            f"Send {hospital.public_key} to the operator, who runs: normfed server accept {hospital.public_key.name}. "
            "If that is done, the server still counts another connection with this key: a copy of this folder that "
            "runs elsewhere (stop one of the two), or the one that ended a moment ago (wait a minute).",
        )
    except httpx.HTTPError as error:
        return Finding(1, "admission", f"not known ({type(error).__name__})")
    finally:
        client.close()
    return Finding(0, "admission", "the server knows this hospital's key")


def _machine(hospital: Hospital) -> Iterator[Finding]:
    from normfed_client.hospital.device import choose_device
    from normfed_client.hospital.machine import free_disk_gb

    disk = free_disk_gb(hospital.folder)
    cure = "Free some, or move the folder: answers and checkpoints wait there."
    yield Finding(0 if disk > DISK_GB else 1, "disk", f"{disk:.0f} GB free", "" if disk > DISK_GB else cure)
    memory = psutil.virtual_memory().available / GIGABYTE
    cure = f"Studies usually need {MEMORY_GB:.0f} GB; close what else runs here."
    yield Finding(0 if memory > MEMORY_GB else 1, "memory", f"{memory:.1f} GB free", "" if memory > MEMORY_GB else cure)
    try:
        device = choose_device(hospital.config.device)
    except DatasetError as error:
        yield Finding(2, "GPU", str(error), "Set `device: auto` in site.yaml, or fix the driver.")
        return
    if device.type == "cuda":
        import torch

        yield Finding(0, "GPU", torch.cuda.get_device_name(device))
    else:
        yield Finding(0, "GPU", f"none; works on {psutil.cpu_count()} CPU cores")


def _data(hospital: Hospital, opening_scans: bool) -> Iterator[Finding]:
    from normfed_client.imaging.faults import faults

    config = hospital.site_config("")
    try:
        dataset = dataset_of(hospital)
    except UserError as error:
        yield Finding(2, "data", str(error), "Correct `data` in site.yaml." if isinstance(error, DatasetError) else "")
        return
    by_site = dataset.sites()
    unknown = [name for name in config.owns if name not in by_site]
    if unknown:
        yield Finding(
            2,
            "data",
            f"nobody belongs to {', '.join(unknown)}; the dataset has {', '.join(by_site)}",
            "Correct `owns` in site.yaml.",
        )
        return
    visits = [v for v in dataset.visits if not config.owns or v.participant.site in config.owns]
    people = {visit.participant.subject for visit in visits}
    absent = [name for name in hospital.config.exclude if name not in people]
    if absent:
        text = f"`exclude` names {', '.join(absent)}, of whom there is no scan"
        yield Finding(1, "people", text, "Correct the name in site.yaml: whoever is meant takes part until then.")
    modalities = sorted({modality for visit in visits for modality in visit.images})
    without = "".join(f"; {count} without {m}" for m, count in people_without(visits, modalities).items())
    yield Finding(
        0 if people else 2,
        "data",
        f"{len(people)} people, {len(visits)} visits with {', '.join(modalities) or 'no scans'}{without}",
        "" if people else "See `normfed inspect` for what was left out.",
    )
    minimum = hospital.config.minimum_people
    groups = Counter(person.group or "?" for person in {v.participant.subject: v.participant for v in visits}.values())
    few = sorted(f"{group} {count}" for group, count in groups.items() if count < minimum)
    if few:
        text = f"fewer than minimum_people ({minimum}) in a group: {', '.join(few)}"
        yield Finding(1, "people", text, "Nothing that is about them alone leaves; see minimum_people of site.yaml.")
    if hospital.config.statistics:
        text = "a server may ask for ages, sexes, scanners, volumes and intensities of the people in a study, in tables"
        yield Finding(0, "statistics", f"{text} of {minimum} people a cell at least; statistics: false forbids it")
    else:
        yield Finding(0, "statistics", "none of the people leave (statistics: false)")
    if os.access(config.data, os.W_OK):
        cure = "normfed never writes there; mount it read-only to be sure."
        yield Finding(1, "data", "this user may write to the dataset", cure)
    wrong = list(dataset.problems)
    found = [f"{problem.what}: {problem.why}" for problem in wrong]
    if opening_scans:
        found += [f"{visit.name}: {fault}" for visit in visits for fault in faults(visit)]
    for text in found[:SHOWN_FAULTS]:
        yield Finding(1, "scans", text, "It is left out; everything else takes part.")
    if len(found) > SHOWN_FAULTS:
        yield Finding(1, "scans", f"and {len(found) - SHOWN_FAULTS} more", f"normfed inspect --check {config.data}")
