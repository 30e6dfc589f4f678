"""Optuna's dashboard for the browser of this machine alone; `bench ui` runs it as a process of its own.

The dashboard answers whoever reaches its port. A page of another site reaches it through the visitor's browser: by a
request of its own, or by a name that it turns to 127.0.0.1 (DNS rebinding). The guard lets neither write nor read:
https://www.w3.org/TR/fetch-metadata/, https://datatracker.ietf.org/doc/html/rfc6454#section-7.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIServer, make_server

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from optuna.storages import BaseStorage

HOST = "127.0.0.1"
STORAGE = "GATEBENCH_STUDIES"  # the variable of the storage's address, whose password a command line would show
HEADERS = [
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
        start("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8"), *HEADERS])
        return [f"refused: {reason}\n".encode()]

    return answer


def _with_headers(start: StartResponse) -> Callable[..., Callable[[bytes], object]]:
    return lambda status, headers, *error: start(status, [*headers, *HEADERS], *error)


def storage_at(address: str) -> BaseStorage | str:
    """A study's storage as optuna-dashboard takes it: it knows a database by its address, no journal by ours."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    kind, _, place = address.partition(":")
    return JournalStorage(JournalFileBackend(place)) if kind == "journal" else address


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def main() -> None:
    """Serve the storage of the environment on the port of the command line until ended."""
    from optuna_dashboard import wsgi

    port, address = int(sys.argv[1]), os.environ.pop(STORAGE)
    try:
        app: WSGIApplication = wsgi(storage_at(address))
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own; some quote the address
        sys.exit(f"the storage cannot be opened: {type(error).__name__}: {str(error).replace(address, 'ADDRESS')}")
    with make_server(HOST, port, guarded(app, port), server_class=_Server) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
