"""Passwords in addresses: what is written to a file or shown goes through here first."""

from __future__ import annotations

import re

HIDDEN = "***"
# Of an address its user and password; of its query what is called a key, token or the like.
_USER = re.compile(r"(?<=://)[^\s/?#'\"]+@")
_QUERY = re.compile(
    r"([?&][\w.-]*(?:key|token|secret|passw|pwd|sig|auth|credential)[\w.-]*=)[^&\s'\"#]+", re.IGNORECASE
)


def without_secrets(text: str) -> str:
    """The text with the passwords of all addresses in it hidden."""
    return _QUERY.sub(rf"\1{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))
