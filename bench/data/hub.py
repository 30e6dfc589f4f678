"""Whether what a suite names on the hub can be had, asked once and before anything runs: libraries ask again and again,
and say neither which name it was nor why."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote, urljoin, urlsplit

T = TypeVar("T")
SECONDS_TO_ANSWER = 10.0  # seconds, for a sign of life
SECONDS_TO_LOOK_UP = 30.0  # seconds, for the whole of an answer
MOST_REDIRECTS = 5  # a name that was changed leads to the new one


class Hub:
    """The hub as one command asks it: once it has kept a question open for all its time, it is not asked another."""

    def __init__(self) -> None:
        self.silent = False

    def ask(self, question: Callable[[], T], seconds: float) -> T:
        """The answer, or what the question raises. Raises TimeoutError where there is none within `seconds`.

        In a thread that is then left to itself, until the process ends: the libraries bound the wait for the next byte,
        never the whole.
        """
        if self.silent:
            raise TimeoutError("it has not answered before")
        future: Future[T] = Future()

        def answer() -> None:
            try:
                future.set_result(question())
            except Exception as error:
                future.set_exception(error)

        threading.Thread(target=answer, name="hub", daemon=True).start()
        try:
            return future.result(seconds)
        except TimeoutError:
            if future.done():
                raise  # the question's own
            self.silent = True
            raise TimeoutError(f"not within {seconds:g} seconds") from None

    def why_not_there(self, kind: Literal["model", "dataset"], name: str, revision: str | None) -> str:
        """Why a model or data set cannot be had; "" where the hub has it, or does not answer and it is here."""
        from huggingface_hub.errors import (
            GatedRepoError,
            HFValidationError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        try:
            self.ask(lambda: _look_up(kind, name, revision), SECONDS_TO_LOOK_UP)
        except GatedRepoError:
            return "it is gated, and this account has no access to it"
        except (RepositoryNotFoundError, HFValidationError):
            return "the hub has nothing of that name, or not for this account"
        except RevisionNotFoundError:
            return f"it has no revision {revision!r}"
        except Exception as error:  # no network, a proxy, a server in trouble: as many kinds as there are ways to it
            if is_cached(kind, name):
                return ""
            return f"it is not on this machine, and the hub does not answer ({' '.join(str(error).split())[:200]})"
        return ""


def is_cached(kind: str, name: str) -> bool:
    """Whether some of a model ("model") or data set ("dataset") of the hub is on this machine."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return (Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind) / "snapshots").is_dir()


def _look_up(kind: Literal["model", "dataset"], name: str, revision: str | None) -> None:
    """As HfApi.repo_info, whose errors it raises, but for three things: of the answer, which may have no end, only the
    start is read; the account's key goes to no other host; and what is no answer of a hub is a ConnectionError."""
    from huggingface_hub import constants, get_session, get_token, hf_raise_for_status
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined, unused-ignore]

    validate_repo_id(name)
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = f"{constants.ENDPOINT}/api/{kind}s/{name}"
    address += f"/revision/{quote(revision, safe='')}" if revision else ""
    for _ in range(MOST_REDIRECTS):
        with get_session().stream(
            "GET", address, headers=headers, timeout=SECONDS_TO_ANSWER, follow_redirects=False
        ) as answer:
            if answer.has_redirect_location:
                address = _led_to(address, answer.headers["location"])
                continue
            told = {key: value for key, value in answer.headers.items() if key.lower().startswith("x-error-")}
            hf_raise_for_status(type(answer)(answer.status_code, headers=told, request=answer.request))
            if not next(answer.iter_bytes(), b"").lstrip().startswith(b"{"):
                raise ConnectionError(f"{urlsplit(address).netloc} answers as no hub does")
            return
    raise ConnectionError(f"more than {MOST_REDIRECTS} redirects")


def _led_to(address: str, location: str) -> str:
    """Where a redirect leads. Raises ConnectionError where that is another host, or no longer encrypted."""
    found = urljoin(address, location)
    old, new = urlsplit(address), urlsplit(found)
    if new.netloc != old.netloc or new.scheme not in (old.scheme, "https"):
        raise ConnectionError(f"it leads to another host, {new.scheme}://{new.netloc}, which is not followed")
    return found
