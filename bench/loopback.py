"""Servers for the browser of this machine alone.

A page of another site reaches a port of this machine through the visitor's browser: by a request of its own, or by a
name that it turns to 127.0.0.1 (DNS rebinding). The guard lets neither write nor read:
https://www.w3.org/TR/fetch-metadata/, https://datatracker.ietf.org/doc/html/rfc6454#section-7.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIServer

from gatebench.bench.errors import UserError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
GUARD_HEADERS = [
    ("X-Frame-Options", "SAMEORIGIN"), ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]  # fmt: skip


def own_hosts(port: int) -> tuple[str, str]:
    """What a browser of this machine calls a server on loopback."""
    return f"{HOST}:{port}", f"localhost:{port}"


def reason_to_refuse(request: WSGIEnvironment, port: int) -> str | None:
    """Why a request is not of this server's own pages, nor of a program of this machine; None where it is."""
    host = request.get("HTTP_HOST", "")
    if host not in own_hosts(port):
        return f"Host {host!r}; expected {' or '.join(own_hosts(port))}"
    if request["REQUEST_METHOD"] in ("GET", "HEAD"):
        return None
    own, origin, referer = f"http://{host}", request.get("HTTP_ORIGIN"), request.get("HTTP_REFERER")
    if origin not in (None, own) or (origin is None and referer and not referer.startswith(f"{own}/")):
        return f"a change from {origin or referer!r}; expected {own}"
    if (site := request.get("HTTP_SEC_FETCH_SITE", "none")) not in ("same-origin", "none"):
        return f"a change from a {site} page; expected one of {own}"
    return None


def guarded(app: WSGIApplication, port: int) -> WSGIApplication:
    """The application for its own pages on loopback: every other request is answered 403, with the reason."""

    def answer(request: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        reason = reason_to_refuse(request, port)
        if reason is None:
            return app(request, _with_headers(start))
        start("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8"), *GUARD_HEADERS])
        return [f"refused: {reason}\n".encode()]

    return answer


def _with_headers(start: StartResponse) -> Callable[..., Callable[[bytes], object]]:
    return lambda status, headers, *error: start(status, [*headers, *GUARD_HEADERS], *error)


def free_port(wanted: int) -> int:
    """The wanted port of this machine, or another where it is taken."""
    for port in (wanted, 0):
        with socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                found.bind((HOST, port))
            except OSError:
                continue
            return int(found.getsockname()[1])
    raise UserError(f"no free port on {HOST}")


class ThreadedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True
