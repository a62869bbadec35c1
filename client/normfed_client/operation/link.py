"""Can the server be reached, and is it the federation's? What stands in between is named."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.request import getproxies, proxy_bypass

import httpx
from cryptography import x509

from normfed_client.hospital.folder import Hospital
from normfed_common.foundation.versions import (
    PROTOCOL,
    PROTOCOL_HEADER,
    apart,
    installed_version,
    last_server,
    release,
)

TIMEOUT_S = 15.0
# Flower's server lets nobody in whose clock is more than 5 s ahead of its own, or 305 s behind.
AHEAD_S, BEHIND_S = 4.0, 300.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    severity
        0 is well, 1 worth a look, 2 in the way.
    copy
        What the cure says to paste somewhere: shown on a line of its own, uncut.
    """

    severity: Literal[0, 1, 2]
    what: str
    found: str
    cure: str = ""
    copy: str = ""


def link(hospital: Hospital) -> Iterator[Finding]:
    """Name, proxy, TLS, clock: in the order in which they fail; nothing is sent but a question for health."""
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
    yield versions(answer.headers.get(PROTOCOL_HEADER), installed_version())


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


def versions(said: str | None, here: str) -> Finding:
    """Whether the server's version works with this one, and until which release.

    Parameters
    ----------
    said
        By the server: protocol, major and minor number.
    """
    protocol, _, server = (said or "").partition(" ")
    if not protocol.isdecimal() or release(server) is None:
        return Finding(1, "server version", "not said by the server", "Compare versions with the operator.")
    if int(protocol) != PROTOCOL:
        older = "this site" if int(protocol) > PROTOCOL else "the server"
        text = f"the server speaks protocol {protocol}, this site {PROTOCOL}: nothing would be answered"
        return Finding(2, "server version", text, f"Update {older}, and run normfed site check again.")
    if why := apart(here, server):
        return Finding(2, "server version", f"this site {why}", "Nothing would be answered until then.")
    last = last_server(here)
    if server == last:
        text = f"the server has {server}, the last that works with this site's {here}"
        return Finding(1, "server version", text, f"Update this site to {server} before the server goes further.")
    return Finding(0, "server version", f"the server has {server}; this site's {here} works with servers up to {last}")


def _proxy(host: str) -> str | None:
    """The proxy that a request to the server would go through, as the environment says."""
    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    return None if proxy is None or proxy_bypass(host) else proxy


def _firewall(server: str) -> str:
    return (
        f"Ask your network team to let outbound HTTPS to {server} through; behind a proxy, set HTTPS_PROXY. If that is "
        "done, ask the operator whether the server runs."
    )
