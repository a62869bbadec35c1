"""Is a hospital ready? Every finding says what is wrong and how to mend it."""

from __future__ import annotations

import os
import platform
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Literal

import httpx
import psutil
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.faults import faults
from normfed_client.machine import GIGABYTE, free_disk_gb
from normfed_client.operation.home import Hospital
from normfed_client.operation.standing import standing
from normfed_client.site import choose_device
from normfed_common.errors import DatasetError, UserError
from normfed_common.operation import bundle

TIMEOUT_S = 15.0
# Flower's server lets nobody in whose clock is more than 5 s ahead of its own, or 305 s behind.
AHEAD_S, BEHIND_S = 4.0, 300.0
DISK_GB, MEMORY_GB = 5.0, 4.0
SHOWN_FAULTS = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``severity`` 0 is well, 1 worth a look, 2 in the way."""

    severity: Literal[0, 1, 2]
    what: str
    found: str
    cure: str = ""


def examine(hospital: Hospital, opening_scans: bool) -> Iterator[Finding]:
    """Look at everything that a federation needs of a hospital, one finding after another."""
    yield _secrets(hospital)
    yield from _versions(hospital)
    reached = list(link(hospital))
    yield from reached
    if all(finding.severity < 2 for finding in reached):
        yield _admitted(hospital)
    yield from _machine(hospital)
    yield from _data(hospital, opening_scans)


def _secrets(hospital: Hospital) -> Finding:
    try:
        hospital.check()
    except UserError as error:
        return Finding(2, "key", "not safe", str(error))
    return Finding(0, "key", f"{hospital.key}, for its owner only")


def _versions(hospital: Hospital) -> Iterator[Finding]:
    found = f"normfed {version('normfed')}, flwr {version('flwr')}, Python {platform.python_version()}"
    if bundle.digest() in hospital.config.bundles:
        yield Finding(0, "versions", found)
        return
    yield Finding(
        1,
        "versions",
        f"{found}; site.yaml lists another version's bundle",
        "If the operator announced this version, add to `bundles` in site.yaml: " + bundle.digest(),
    )


def link(hospital: Hospital) -> Iterator[Finding]:
    """Name, proxy, TLS, clock: in the order in which they fail."""
    server = hospital.config.server
    host, _, port = server.rpartition(":")
    proxy = _proxy(host)
    through = f" through the proxy {proxy}" if proxy else ""
    try:
        authority = ssl.create_default_context(cafile=str(hospital.ca))
    except (OSError, ssl.SSLError) as error:
        yield Finding(2, "certificates", f"{hospital.ca}: {error}", "Copy ca.crt out of the enrolment file again.")
        return
    if proxy is None:
        try:
            socket.getaddrinfo(host.strip("[]"), int(port))
        except OSError:
            yield Finding(2, "name", f"{host} is not known here", "Ask your network team for DNS, or the operator.")
            return
    try:
        with httpx.Client(verify=authority, timeout=TIMEOUT_S) as client:
            answer = client.get(f"https://{server}/health")
    except httpx.ConnectError as error:
        yield _not_connected(hospital, error, through)
        return
    except httpx.ProxyError as error:
        text = f"the proxy {proxy} refuses {server} ({error})"
        yield Finding(2, "proxy", text, f"Ask your network team to let HTTPS to {server} through.")
        return
    except httpx.HTTPError as error:
        yield Finding(2, "link", f"no answer from {server}{through} ({type(error).__name__})", _firewall(server))
        return
    yield Finding(0, "link", f"{server} answers{through}; its certificate is the federation's")
    yield _clock(answer.headers.get("date"))


def _not_connected(hospital: Hospital, error: httpx.ConnectError, through: str) -> Finding:
    server = hospital.config.server
    if "certificate" not in str(error).lower():
        return Finding(2, "link", f"{server} cannot be reached{through} ({error})", _firewall(server))
    seen = _certificate(server)
    if seen is None:
        return Finding(2, "certificate", f"{server} shows none that can be read ({error})", "Ask the operator.")
    ours = x509.load_pem_x509_certificates(hospital.ca.read_bytes())
    if seen.issuer not in [authority.subject for authority in ours]:
        issuer = seen.issuer.rfc4514_string()
        return Finding(
            2,
            "certificate",
            f"the certificate that arrives was issued by {issuer}, not by the federation: something on the way opens "
            "the encryption (TLS inspection), or this is another server",
            f"Ask your network team to exempt {server} from TLS inspection. Do not add their certificate to ca.crt: "
            "what is sent would be readable on the way.",
        )
    now = datetime.now(UTC)
    if now > seen.not_valid_after_utc:
        ended = f"{seen.not_valid_after_utc:%d %B %Y}"
        return Finding(
            2,
            "certificate",
            f"the server's expired on {ended} by this machine's clock ({now:%d %B %Y %H:%M} UTC)",
            "If the clock is right, the operator must run: normfed server renew",
        )
    if now < seen.not_valid_before_utc:
        text = f"the server's is not valid yet by this machine's clock ({now:%d %B %Y %H:%M} UTC)"
        return Finding(2, "certificate", text, "Set this machine's clock (NTP).")
    return Finding(2, "certificate", str(error), "Is `server` in site.yaml the address that the operator gave?")


def _certificate(server: str) -> x509.Certificate | None:
    """What the server, or whoever stands before it, shows; nothing is sent to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            httpx.Client(verify=context, timeout=TIMEOUT_S) as client,
            client.stream("GET", f"https://{server}/health") as answer,
        ):
            seen = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert(True)
            return x509.load_der_x509_certificate(seen)
    except (httpx.HTTPError, ValueError, AttributeError, KeyError):
        return None


def _clock(date: str | None) -> Finding:
    if date is None:
        return Finding(1, "clock", "the server does not say what time it is")
    ahead = (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    if -BEHIND_S < ahead < AHEAD_S:
        return Finding(0, "clock", f"{abs(ahead):.0f} s from the server's")
    which = "ahead of" if ahead > 0 else "behind"
    return Finding(
        2,
        "clock",
        f"{abs(ahead):.0f} s {which} the server's; every request is signed with the time, and would be refused",
        "Set this machine's clock (NTP), or tell the operator if theirs is wrong.",
    )


def _admitted(hospital: Hospital) -> Finding:
    """Whether the server knows the key: asked of the running client, or else by connecting for a moment."""
    now = standing(hospital)
    if now.running:
        return Finding(0, "admission", f"the client runs: {now.sentence}")
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
            "If that is done and the client ran until a moment ago, wait a minute: it still counts as connected.",
        )
    except httpx.HTTPError as error:
        return Finding(1, "admission", f"not known ({type(error).__name__})")
    finally:
        client.close()
    return Finding(0, "admission", "the server knows this hospital's key")


def _machine(hospital: Hospital) -> Iterator[Finding]:
    disk = free_disk_gb(hospital.folder)
    cure = "Free some, or move the folder: answers and checkpoints wait there."
    yield Finding(0 if disk > DISK_GB else 1, "disk", f"{disk:.0f} GB free", "" if disk > DISK_GB else cure)
    memory = psutil.virtual_memory().available / GIGABYTE
    cure = f"Studies usually need {MEMORY_GB:.0f} GB; close what else runs here."
    yield Finding(0 if memory > MEMORY_GB else 1, "memory", f"{memory:.1f} GB free", "" if memory > MEMORY_GB else cure)
    try:
        device = choose_device(hospital.config.device)
    except DatasetError as error:
        yield Finding(2, "GPU", str(error), "Set `device: auto` in site.yaml, or mend the driver.")
        return
    if device.type == "cuda":
        import torch

        yield Finding(0, "GPU", torch.cuda.get_device_name(device))
    else:
        yield Finding(0, "GPU", f"none; works on {psutil.cpu_count()} CPU cores")


def _data(hospital: Hospital, opening_scans: bool) -> Iterator[Finding]:
    config = hospital.site_config("")
    try:
        dataset = read_dataset(config.data)
    except DatasetError as error:
        yield Finding(2, "data", str(error), "Correct `data` in site.yaml.")
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
    modalities = sorted({modality for visit in visits for modality in visit.images})
    yield Finding(
        0 if people else 2,
        "data",
        f"{len(people)} people, {len(visits)} visits with {', '.join(modalities) or 'no scans'}",
        "" if people else "See `normfed inspect` for what was left out.",
    )
    if os.access(config.data, os.W_OK):
        yield Finding(1, "data", "this user may write to the dataset", "Not needed: mount it read-only to be sure.")
    wrong = list(dataset.problems)
    found = [f"{problem.what}: {problem.why}" for problem in wrong]
    if opening_scans:
        found += [f"{visit.name}: {fault}" for visit in visits for fault in faults(visit)]
    for text in found[:SHOWN_FAULTS]:
        yield Finding(1, "scans", text, "It is left out; everything else takes part.")
    if len(found) > SHOWN_FAULTS:
        yield Finding(1, "scans", f"and {len(found) - SHOWN_FAULTS} more", f"normfed inspect --check {config.data}")


def _proxy(host: str) -> str | None:
    """The proxy that a request to the server would go through, as the environment says."""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    return None if proxy is None or proxy_bypass(host) else proxy


def _firewall(server: str) -> str:
    return (
        f"Ask your network team to let outbound HTTPS to {server} through; behind a proxy, set HTTPS_PROXY. If that is "
        "done, ask the operator whether the server runs."
    )
