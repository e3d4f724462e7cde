"""Allowlist check of a user's SPARQL: it may read the graph, or change it with `write`, and fetch no other data.

Every bare word must be a SPARQL keyword listed in this module; SERVICE and LOAD are not listed. The text is split into
tokens as the engine does it. `<` can be "less than" or start an IRI, which the engine decides by context; since this
module and the engine could disagree about what follows, only plain IRIs are allowed there. The engine gets the
statement on one line without comments, so that it cannot read a text or a comment as a part of the statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kgrec.store.query_errors import forbidden, refused


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOKEN: Final = re.compile(
    r'''(?sx)
    (?P<space>\s+)
    | (?P<comment>\#[^\r\n]*)
    | (?P<text>"""(?:"{0,2}(?:[^"\\]|\\.))*"""|\'\'\'(?:'{0,2}(?:[^'\\]|\\.))*\'\'\'
        |"(?:[^"\\\r\n]|\\.)*"|'(?:[^'\\\r\n]|\\.)*')
    | (?P<iri><(?:[^<>"{}|^`\\\x00-\x20]|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8})*>)
    | [?$](?P<variable>\w+)
    | (?P<name>(?:_|[^\W\d_](?:[\w.-]{0,200}[\w-])?)?:(?:[\w:%-]|\.(?=[\w.:%\\-])|\\[_~.!$&'()*+,;=/?\#@%-])*)
    | (?P<language>@[A-Za-z]+(?:-[A-Za-z0-9]+)*(?:--[a-z]+)?)
    | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<mark>[{}()\[\].,;=!<>+\-*/|&^?~])
    '''
)
"""Tokens of SPARQL. The length of a prefix is bounded, since every word is first tried as a prefix."""

_PLAIN: Final = re.compile(r"<[A-Za-z0-9:/._~%+@-]*>")
"""IRIs without characters that have a meaning outside an IRI."""

_READING: Final = _names(
    # clauses
    """
    a as asc ask base bind by construct desc describe distinct exists filter false from graph group having in lateral
    limit minus named not offset optional order prefix reduced select separator true undef union values version where
    """
    # functions
    """
    abs adjust avg bnode bound ceil coalesce concat contains count datatype day encode_for_uri floor group_concat
    haslang haslangdir hours if iri isblank isiri isliteral isnumeric istriple isuri lang langdir langmatches lcase max
    md5 min minutes month now object predicate rand regex replace round sameterm sample seconds sha1 sha256 sha384
    sha512 str strafter strbefore strdt strends strlang strlangdir strlen strstarts struuid subject substr sum timezone
    triple tz ucase uri uuid year
    """
)
_CHANGING: Final = _names("add all clear copy create data default delete drop insert move silent to using with")
_FETCHING: Final = frozenset({"service", "load"})
_GLUED: Final = re.compile(r"(?i)[^:]*(?:service|load)")
"""Prefixes in which the engine may read a keyword, since it does not require blanks around keywords."""

_DATASET: Final = ("from", "using")


def check(query: str, write: bool) -> str:
    """Return a query or an update as one line without comments, after checking that everything in it is allowed.

    Args:
        query: the statement.
        write: the statement may change the graph.

    Raises:
        StoreError: something in the statement is not allowed; the message says what and where.
    """
    allowed = _READING | _CHANGING if write else _READING
    shown = []
    for match in tokens(query):
        word = (match["word"] or "").lower()
        if word in _FETCHING:
            what = f"{match[0]} is not allowed: it fetches data from outside the graph"
            raise forbidden(query, what, match.start(), False, write)
        if match["name"] and _GLUED.match(match[0]):
            what = f"{match[0]} is not allowed: it may be read as SERVICE or LOAD; use another prefix"
            raise forbidden(query, what, match.start(), False, write)
        if word in _CHANGING - allowed:
            raise forbidden(query, f"{word.upper()}: no updates in a query that only reads", match.start(), True, write)
        if word and word not in allowed:
            raise refused(query, f"{match[0]} is not a known SPARQL keyword", "oxigraph", match.start())
        shown.append(_on_one_line(match))
    return "".join(shown)


def tokens(query: str) -> Iterator[re.Match[str]]:
    """Yield the tokens of a text, including blanks and comments.

    Raises:
        StoreError: a part of the text is not a token or is ambiguous.
    """
    at, inside, before = 0, [""], ""
    while at < len(query):
        match = TOKEN.match(query, at)
        if match is None:
            raise forbidden(query, f"{query[at]!r} starts no valid token, or a text that is never closed", at)
        kind, text = match.lastgroup or "", match[0]
        if kind == "iri" and inside[-1] == "(" and before and not _PLAIN.fullmatch(text):
            what = (
                f"{text} can be read as an IRI or as 'less than'; put a blank after <, or write the IRI with a prefix"
            )
            raise forbidden(query, what, at)
        yield match
        at = match.end()
        if text in ("(", "[", "{"):
            inside.append(text)
        elif text in (")", "]", "}") and len(inside) > 1:
            inside.pop()
        if kind not in ("space", "comment"):  # `before` is the operand that a `<` operator can follow, or empty
            is_operand = kind in ("text", "iri", "variable", "name", "language", "number") or text in (")", "]", "}")
            before = text if is_operand or text.lower() in ("true", "false") else ""


def graphs(query: str) -> Iterator[tuple[str, int]]:
    """Yield each graph name in the FROM and USING clauses of a query, as written, with its position."""
    matches = [m for m in tokens(query) if m.lastgroup not in ("space", "comment")]
    for i, match in enumerate(matches):
        if (match["word"] or "").lower() in _DATASET:
            rest = [m for m in matches[i + 1 : i + 3] if (m["word"] or "").lower() != "named"]
            if rest and (rest[0]["iri"] or rest[0]["name"]):
                yield rest[0][0], rest[0].start()


def declared(query: str) -> dict[str, str]:
    """Return the prefixes that a query declares."""
    matches = [m for m in tokens(query) if m.lastgroup not in ("space", "comment")]
    return {
        name[0].removesuffix(":"): iri[0][1:-1]
        for word, name, iri in zip(matches, matches[1:], matches[2:], strict=False)
        if (word["word"] or "").lower() == "prefix" and name["name"] and iri["iri"]
    }


def _on_one_line(match: re.Match[str]) -> str:
    if match["comment"]:
        return " " * len(match[0])
    if match["space"]:
        return " " * len(match[0])
    return match[0].replace("\n", "\\n").replace("\r", "\\r") if match["text"] else match[0]
