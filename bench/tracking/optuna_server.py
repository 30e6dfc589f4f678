"""Optuna's dashboard for the browser of this machine alone; `bench ui` runs it as a process of its own.

The dashboard answers whoever reaches its port, so that a guard stands before it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server

from gatebench.bench.loopback import HOST, ThreadedServer, guarded

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from optuna.storages import BaseStorage

STORAGE = "GATEBENCH_STUDIES"  # the variable of the storage's address, whose password a command line would show


def storage_at(address: str) -> BaseStorage | str:
    """A study's storage as optuna-dashboard takes it: it knows a database by its address, no journal by ours."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    kind, _, place = address.partition(":")
    return JournalStorage(JournalFileBackend(place)) if kind == "journal" else address


def main() -> None:
    """Serve the storage of the environment on the port of the command line until ended."""
    from optuna_dashboard import wsgi

    port, address = int(sys.argv[1]), os.environ.pop(STORAGE)
    try:
        app: WSGIApplication = wsgi(storage_at(address))
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each raise their own; some quote the address
        sys.exit(f"the storage cannot be opened: {type(error).__name__}: {str(error).replace(address, 'ADDRESS')}")
    with make_server(HOST, port, guarded(app, port), server_class=ThreadedServer) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
