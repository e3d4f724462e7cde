"""Escaping of untrusted text for terminals: characters that move the cursor, color, hide or reverse are written out."""

from __future__ import annotations

import re
from typing import Final

_OBEYED: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
    r"|[\U000e0000-\U000e007f]"
)
"""Control characters, direction marks, unusual line separators, zero-width characters and lone surrogates.

Zero-width joiners stay, since some languages and many emoji need them.
"""


def escaped(text: str, *, lines: bool = False) -> str:
    r"""Return text that is safe to print to a terminal: characters such as `\x1b` are written as escapes.

    Args:
        text: text that may contain data, such as ids, titles or messages.
        lines: keep line breaks and tabs, as in a message of several lines.
    """
    return _OBEYED.sub(lambda match: match[0] if lines and match[0] in "\n\t" else _written(match[0]), text)


def escaped_json(text: str) -> str:
    r"""Return equivalent JSON in which characters such as `\u202e` in strings are written as escapes."""
    return _OBEYED.sub(lambda match: match[0] if match[0] == "\n" else _in_json(match[0]), text)


def _written(character: str) -> str:
    return {"\n": r"\n", "\t": r"\t", "\r": r"\r"}.get(character) or character.encode("unicode_escape").decode("ascii")


def _in_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
