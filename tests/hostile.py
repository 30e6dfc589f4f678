"""Servers that do what none should: they drip, never end, break off, or lead elsewhere."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


Behave: TypeAlias = "Callable[[Hostile, socket.socket, bytes], None]"


class Hostile:
    """behave(server, client, request): writes what it says to one request, with send, drip or pour."""

    def __init__(self, behave: Behave, tls: ssl.SSLContext | None = None) -> None:
        self.behave, self.tls, self.sent, self.requests = behave, tls, 0, list[bytes]()
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=self.listener.accept()[:1], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            own = self.tls.wrap_socket(client, server_side=True) if self.tls else client
            request = _request(own)
            self.requests.append(request)
            self.behave(self, own, request)

    def send(self, client: socket.socket, data: bytes) -> None:
        client.sendall(data)
        self.sent += len(data)

    def drip(self, client: socket.socket, data: bytes, seconds: float) -> None:
        """A byte at a time, each within any time limit for one."""
        for at in range(len(data)):
            self.send(client, data[at : at + 1])
            if self.over.wait(seconds):
                return

    def pour(self, client: socket.socket, data: bytes) -> None:
        """For ever."""
        while not self.over.is_set():
            self.send(client, data)


def _request(client: socket.socket) -> bytes:
    """The whole of a request, so that closing its connection resets nothing."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += (part := client.recv(65536))
        if not part:
            return found
    head, _, body = found.partition(b"\r\n\r\n")
    sizes = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    left = int(sizes[0]) - len(body) if sizes else 0
    while left > 0 and (part := client.recv(65536)):
        found, left = found + part, left - len(part)
    return found


@contextmanager
def hostile(behave: Behave, tls: ssl.SSLContext | None = None) -> Iterator[Hostile]:
    server = Hostile(behave, tls)
    yield server
    server.over.set()
    server.listener.close()


def whole(status: str, body: bytes = b"", *headers: str) -> bytes:
    """An answer as it should be."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
