"""Text of the data on a terminal: what would move the cursor, color, hide or reverse is shown and not obeyed."""

from __future__ import annotations

import re
from typing import Final

_OBEYED: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
    r"|[\U000e0000-\U000e007f]"
)
"""Control characters, marks of direction, line ends beside the usual, what is of no width, and halves of characters.

Joiners of no width stay: words of some languages and many pictures are made with them.
"""


def escaped(text: str, *, lines: bool = False) -> str:
    r"""Return text as it may go to a terminal: `\x1b` and its like are written out.

    Args:
        text: ids, titles, messages, whatever may hold data.
        lines: whether line breaks and tabs stay, as in a message of several lines.
    """
    return _OBEYED.sub(lambda found: found[0] if lines and found[0] in "\n\t" else _written(found[0]), text)


def escaped_json(text: str) -> str:
    r"""Return JSON that holds the same, with `\u202e` and its like written out; only strings can hold them."""
    return _OBEYED.sub(lambda found: found[0] if found[0] == "\n" else _in_json(found[0]), text)


def _written(character: str) -> str:
    return {"\n": r"\n", "\t": r"\t", "\r": r"\r"}.get(character) or character.encode("unicode_escape").decode("ascii")


def _in_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
