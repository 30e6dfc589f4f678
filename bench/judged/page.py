"""`bench vote`: the page on which one rater votes, blind, and the server that keeps each vote as it is given."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

from gatebench.bench.judged.ballots import Ballot
from gatebench.bench.judges.api import LOSS, TIE, WIN
from gatebench.bench.judges.votes import Vote, append_vote, read_votes, texts_of
from gatebench.bench.keys import Json
from gatebench.bench.loopback import HOST, ThreadedServer, free_port, guarded

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PORT = 8090
MOST_BYTES_OF_A_VOTE = 1000
LEFT = {"left": WIN, "tie": TIE, "right": LOSS}  # what a choice is for the answer on the left
CONTENT = "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; script-src 'nonce-{nonce}'"


class Booth:
    """One rater's ballots, and the file that holds what they have voted. A ballot that was skipped comes again when the
    page is served again."""

    def __init__(self, ballots: Sequence[Ballot], rater: str, file: Path) -> None:
        self.ballots, self.rater, self.file = ballots, rater, file
        known = {texts_of(vote) for vote in read_votes(file) if vote.rater == rater} if file.exists() else set()
        self.voted = {number for number, one in enumerate(ballots) if (one.prompt, one.first, one.second) in known}
        self._skipped: set[int] = set()
        self._lock = threading.Lock()

    def next(self) -> dict[str, Json]:
        """The next ballot as the page shows it; without one where all are done."""
        told: dict[str, Json] = {"of": len(self.ballots), "voted": len(self.voted)}
        done = self.voted | self._skipped
        number = next((number for number in range(len(self.ballots)) if number not in done), None)
        if number is None:
            return told
        left, right = self._sides(number)
        return {**told, "number": number, "prompt": self.ballots[number].prompt, "left": left, "right": right}

    def take(self, number: object, choice: object) -> None:
        """Keep a vote. Raises ValueError for one that is none."""
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(self.ballots):
            raise ValueError(f"number {number!r}; expected one of a ballot")
        with self._lock:
            if choice == "skip":
                self._skipped.add(number)
                return
            if not isinstance(choice, str) or choice not in LEFT:
                raise ValueError(f"choice {choice!r}; expected left, tie, right or skip")
            left, right = self._sides(number)
            self.file.parent.mkdir(parents=True, exist_ok=True)
            append_vote(self.file, Vote(self.rater, self.ballots[number].prompt, left, right, LEFT[choice]))
            self.voted.add(number)

    def _sides(self, number: int) -> tuple[str, str]:
        """The answers on the left and on the right."""
        ballot = self.ballots[number]
        both = ballot.first, ballot.second
        return (both[1], both[0]) if ballot.turned_for(self.rater) else both

    def __call__(self, request: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """The page at /, the ballots at /ballot: GET asks for the next, POST votes on one and asks for the next."""
        asked = request["REQUEST_METHOD"], request.get("PATH_INFO", "/")
        if asked == ("GET", "/"):
            return _page(start)
        if asked == ("POST", "/ballot"):
            try:
                vote = _vote_of(request)
                self.take(vote.get("number"), vote.get("choice"))
            except ValueError as error:
                return _answer(start, "400 Bad Request", "text/plain", f"no vote: {error}")
        elif asked != ("GET", "/ballot"):
            return _answer(start, "404 Not Found", "text/plain", "no such page")
        return _answer(start, "200 OK", "application/json", json.dumps(self.next()))


def _vote_of(request: WSGIEnvironment) -> dict[str, Json]:
    """Raises ValueError for what is no JSON object of a vote's size."""
    length = request.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or int(length) > MOST_BYTES_OF_A_VOTE:
        raise ValueError(f"expected at most {MOST_BYTES_OF_A_VOTE} bytes of JSON")
    try:
        found = json.loads(request["wsgi.input"].read(int(length)))
    except RecursionError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("expected an object with number and choice")
    return found


def _page(start: StartResponse) -> Iterable[bytes]:
    nonce = secrets.token_urlsafe(16)
    text = (Path(__file__).parent / "assets" / "vote.html").read_text(encoding="utf-8").replace("{{ nonce }}", nonce)
    return _answer(start, "200 OK", "text/html", text, ("Content-Security-Policy", CONTENT.format(nonce=nonce)))


def _answer(start: StartResponse, status: str, kind: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    start(status, [("Content-Type", f"{kind}; charset=utf-8"), ("Cache-Control", "no-store"), *headers])
    return [text.encode()]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing: the terminal has the address and, at the end, the votes."""


@contextmanager
def open_booth(booth: Booth) -> Iterator[str]:
    """The address of the page, which is served while this lasts."""
    port = free_port(PORT)
    with make_server(HOST, port, guarded(booth, port), server_class=ThreadedServer, handler_class=_Quiet) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        try:
            yield f"http://{HOST}:{port}/"
        finally:
            server.shutdown()
            serving.join()
