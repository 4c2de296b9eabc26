"""Who may ask the page's server.

A foreign site's page, open in the same browser, can reach any server of this machine: so a Host that is not this
server's is refused (DNS rebinding), and so is whatever another origin sends or embeds.
"""

import contextlib
import ipaddress
import socket
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An application behind a look at where requests come from; adds HEADERS to its answers. host: where it listens."""

    def __init__(self, application: Any, host: str):
        self._application, self._host = application, host

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(one for one in added if one[0] not in there)]
            await send(message)

        if reason := self._reason(Request(scope)):
            await JSONResponse({"error": reason}, 403)(scope, receive, send_with_headers)
        else:
            await self._application(scope, receive, send_with_headers)

    def _reason(self, request: Request) -> str:
        """Why a request is refused; nothing where it is not."""
        hosts, origins = request.headers.getlist("host"), request.headers.getlist("origin")
        if len(hosts) != 1 or not self._own(hosts[0]):
            return "this server is not of that name"
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            return "a page of another origin may not ask this server"
        navigates = request.headers.get("sec-fetch-mode") == "navigate" and request.method == "GET"
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") and not navigates:
            return "a page of another site may not ask this server"
        return ""

    def _own(self, host: str) -> bool:
        """Whether a Host header names this server. Where it listens to other machines, any address may be its own, and
        its names are the host's and the machine's: a name that somebody else's DNS points here is not.
        """
        name, colon, port = host.rpartition(":")
        if not (colon and port.isdecimal()):
            name = host
        name = name.removeprefix("[").removesuffix("]").lower()
        if name in ("localhost", "127.0.0.1", "::1", self._host.lower()):
            return True
        if is_loopback(self._host):
            return False
        with contextlib.suppress(ValueError):
            return bool(ipaddress.ip_address(name))
        return name in (socket.gethostname().lower(), socket.getfqdn().lower())


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
