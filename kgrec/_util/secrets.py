"""Detection and redaction of passwords in addresses."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"
"""Replacement for a user and a password in messages."""

_SCHEME: Final = r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:/+)"
_USER_PART: Final = re.compile(rf"{_SCHEME}[^\s/?#]*(?:@|%40)")
"""A scheme and everything up to the last @ of the authority."""

_SLASHED: Final = re.compile(rf"{_SCHEME}(?![^\s/?#@:]*:\d+(?:[/?#]|$))[^\s/?#@:]+:\S*@")
"""A password that contains a slash, a question mark or a hash; a port does not count as a password."""

_PARAMETER: Final = re.compile(
    r"(?P<name>[?&;](?:password|passwd|pwd|secret|(?:access_|auth_)?token|api_?key|sig(?:nature)?)=)[^\s&;#]+", re.I
)


def holds_password(address: str) -> bool:
    """Return True if an address holds a user, a password or a token."""
    return redacted(address) != address


def redacted(text: str) -> str:
    """Return a text in which users, passwords and tokens of addresses are replaced by `***`."""
    if "@" not in text and "%40" not in text and "=" not in text:
        return text
    for pattern in (_SLASHED, _USER_PART):
        text = pattern.sub(rf"\g<scheme>{HIDDEN}@", text)
    return _PARAMETER.sub(rf"\g<name>{HIDDEN}", text)
