"""One question to one server, bounded: by a deadline that dripping bytes do not move, by the size of what comes back,
and by the host, for no redirect is followed and no proxy asked: question and key go to the given address alone."""

from __future__ import annotations

import http.client
import io
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast
from urllib.parse import SplitResult, quote, unquote, urlsplit

if TYPE_CHECKING:
    import socket

    from _typeshed import WriteableBuffer

MOST_BYTES = 4 * 2**20  # of an answer as it comes over the wire, its headers and chunks included
PART = 2**16  # bytes that are sent or taken between two looks at the clock
SAFE_IN_A_PATH = "!#$%&'()*+,/:;=?@[]~"


class NoAnswer(Exception):
    """Why there is none, without the address, which may hold a key, and without what a server says of the request.
    again: whether the same question may still get one, wait seconds later at the earliest."""

    def __init__(self, why: str, again: bool = False, wait: float = 0.0) -> None:
        super().__init__(why)
        self.again, self.wait = again, wait


@dataclass(frozen=True)
class Received:
    """wait: what the server has as Retry-After."""

    status: int
    wait: str
    body: bytes


@dataclass(frozen=True)
class Patience:
    """Seconds to connect and for each sign of life, and the moment (of time.monotonic) at which all is over."""

    connect: float
    silence: float
    deadline: float

    def left(self, most: float) -> float:
        """Seconds, up to `most`; raises TimeoutError where none are left."""
        found = min(most, self.deadline - time.monotonic())
        if found <= 0:
            raise TimeoutError
        return found


def post_json(url: str, key: str, body: bytes, patience: Patience) -> Received:
    """What the server answers, whatever its status; `key` is a bearer's, "" for none. Raises NoAnswer.

    The system's look-up of a host's name is outside of the deadline, and its addresses are tried one after the other.
    """
    try:
        with closing(_connection(urlsplit(url), patience)) as connection:
            return _exchanged(connection, url, key, body, patience)
    except TimeoutError:
        raise NoAnswer("no answer in time", again=True) from None
    except OSError:
        raise NoAnswer("no connection", again=True) from None
    except (http.client.HTTPException, ValueError) as error:
        again = isinstance(error, http.client.HTTPException)
        raise NoAnswer(f"an answer that is none ({type(error).__name__})", again) from None


def _connection(address: SplitResult, patience: Patience) -> http.client.HTTPConnection:
    seconds, host = patience.left(patience.connect), address.hostname
    if not host:
        raise ValueError("an address without a host")
    made = (
        http.client.HTTPSConnection(host, address.port, timeout=seconds, context=_trust())
        if address.scheme == "https"
        else http.client.HTTPConnection(host, address.port, timeout=seconds)
    )
    try:
        made.connect()
    except ssl.SSLError as error:
        raise NoAnswer(f"no secure connection ({error.reason})") from None
    except OSError:
        raise NoAnswer("no connection", again=True) from None
    return made


@cache
def _trust() -> ssl.SSLContext:
    """The authorities of the system and those that come with Python's packages."""
    import certifi

    found = ssl.create_default_context()
    found.load_verify_locations(certifi.where())
    return found


def _exchanged(connection: http.client.HTTPConnection, url: str, key: str, body: bytes, patience: Patience) -> Received:
    address, own = urlsplit(url), connection.sock
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    if address.username or address.password:
        pair = f"{unquote(address.username or '')}:{unquote(address.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    path = quote(address.path or "/", safe=SAFE_IN_A_PATH) + (f"?{address.query}" if address.query else "")
    connection.request("POST", path, _parts(body, own, patience), headers)
    # no connection.getresponse(): it would read from the socket itself, with no limit to the whole of it
    with http.client.HTTPResponse(cast("socket.socket", _Wire(own, patience)), method="POST") as response:
        response.begin()
        found = bytearray()
        while part := response.read(PART):
            found += part
        if response.length:
            raise http.client.IncompleteRead(bytes(found[:0]), response.length)
        return Received(response.status, response.getheader("Retry-After", ""), bytes(found))


def _parts(body: bytes, own: socket.socket, patience: Patience) -> Iterator[bytes]:
    for start in range(0, len(body), PART):
        own.settimeout(patience.left(patience.silence))
        yield body[start : start + PART]


class _Wire(io.RawIOBase):
    """What a server sends, as the socket that http.client reads from: until the deadline, and up to MOST_BYTES."""

    def __init__(self, own: socket.socket, patience: Patience) -> None:
        self.own, self.patience, self.taken = own, patience, 0

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self.own.settimeout(self.patience.left(self.patience.silence))
        found = self.own.recv_into(buffer)
        self.taken += found
        if self.taken > MOST_BYTES:
            raise NoAnswer(f"an answer of more than {MOST_BYTES:,} bytes")
        return found
