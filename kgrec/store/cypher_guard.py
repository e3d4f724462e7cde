"""Allowlist check of a user's Cypher: it may read the graph, or change it with `write`, and nothing else.

The statement is split into tokens as the engines do it and scanned once. A word in the position of a clause or operator
must be listed in this module, and a function or procedure in `cypher_names`; anything else is refused. A clause that a
future engine version adds is therefore refused until it is listed. Names (variables, labels, properties, and everything
in backticks) may be any word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from kgrec.errors import StoreError, near_matches
from kgrec.store.cypher_names import FUNCTIONS, PROCEDURES, WRITING_PROCEDURES
from kgrec.store.query_errors import forbidden

_TOKEN: Final = re.compile(
    r"""(?sx)
    (?P<space>\s+)
    | (?P<comment>//[^\r\n]*|/\*.*?\*/)
    | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<quoted>(?:`[^`]*`)+)
    | (?P<number>(?:0[xX][0-9a-fA-F]+|0o[0-7]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![^\W_]))
    | (?P<parameter>\$(?:\w+|`[^`]*`))
    | (?P<word>[^\W\d]\w*)
    | (?P<mark>[()\[\]{}.,:;=<>+\-*%^|&!$~]|/(?!\*))
    """
)
_ESCAPED: Final = re.compile(r"\\u([0-9A-Fa-f]{4})")

_READING: Final = frozenset({"MATCH", "OPTIONAL", "WITH", "RETURN", "UNWIND", "CALL", "UNION", "WHERE", "ORDER"})
_CHANGING: Final = frozenset(
    {"CREATE", "MERGE", "SET", "DELETE", "DETACH", "NODETACH", "REMOVE", "FOREACH", "INSERT", "ON"}
)
_OTHERS: Final = frozenset(
    {"LOAD", "COPY", "DROP", "ALTER", "INSTALL", "UNINSTALL", "ATTACH", "EXPORT", "IMPORT", "CHECKPOINT", "USE", "CALL"}
)
_INFIX: Final = frozenset(
    {"AND", "OR", "XOR", "NOT", "IN", "STARTS", "ENDS", "CONTAINS", "IS", "THEN", "ELSE", "WHEN", "AS", "YIELD"}
    | {"SKIP", "OFFSET", "LIMIT", "SHORTEST", "WSHORTEST", "TRAIL", "ACYCLIC", "ALL", "ANY"}
    | {"OF", "CONCURRENT", "BY", "HINT", "JOIN", "MULTI_JOIN"}
)
"""Words that can stand between two operands."""

_POSTFIX: Final = frozenset(
    {"ASC", "DESC", "ASCENDING", "DESCENDING", "END", "ROW", "ROWS", "CONTINUE", "BREAK", "FAIL", "FINISH"}
)
"""Words that can follow an operand."""

_PREFIX: Final = frozenset(
    {"NOT", "DISTINCT", "CASE", "WHEN", "BY", "WITH", "ALL", "ANY", "SHORTEST", "TYPED", "WHERE"}
)
"""Words that can precede an operand."""

_SCHEMA: Final = frozenset(
    {"NODE", "REL", "TABLE", "VECTOR", "FULLTEXT", "RANGE", "TEXT", "POINT", "INDEX", "CONSTRAINT"}
)
_SHOWN: Final = frozenset(
    {
        "ALL",
        "VECTOR",
        "FULLTEXT",
        "RANGE",
        "TEXT",
        "POINT",
        "LOOKUP",
        "UNIQUE",
        "UNIQUENESS",
        "NODE",
        "RELATIONSHIP",
        "KEY",
    }
    | {"REL", "PROPERTY", "EXISTENCE", "TYPE", "INDEX", "INDEXES", "CONSTRAINT", "CONSTRAINTS"}
)

Kind = Literal["text", "quoted", "number", "parameter", "word", "mark", "end"]


@dataclass(frozen=True)
class _Token:
    kind: Kind
    text: str
    offset: int

    @property
    def word(self) -> str:
        """The word in capitals; empty for any other kind of token."""
        return self.text.upper() if self.kind == "word" and self.text.isascii() else ""


def check(query: str, engine: Literal["ladybug", "neo4j"], write: bool) -> str:
    """Return a statement with its comments blanked, after checking that everything in it is allowed.

    Args:
        query: the statement.
        engine: engine that runs the statement.
        write: the statement may change the graph.

    Raises:
        StoreError: something in the statement is not allowed; the message says what and where.
    """
    tokens = _tokens(query)
    _Walk(query, tokens, engine, write).check()
    return _without_comments(query)


def explained(query: str) -> str:
    """Return a statement without its leading EXPLAIN or PROFILE."""
    return re.sub(r"^\s*(EXPLAIN(\s+LOGICAL)?|PROFILE)\b", "", query, count=1, flags=re.IGNORECASE)


def _without_comments(query: str) -> str:
    """Return a query with its comments blanked, since engines parse comments differently; offsets stay valid."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\r\n]", " ", match[0]) if match["comment"] else match[0]

    return _TOKEN.sub(blank, query)


def _tokens(query: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(query):
        match = _TOKEN.match(query, at)
        if match is None or match.lastgroup is None:
            raise forbidden(query, f"{_shown(query[at])} starts no valid token, or a text that is never closed", at)
        if match.lastgroup in ("text", "quoted"):
            _check_escapes(query, match)
        if match.lastgroup not in ("space", "comment"):
            tokens.append(_Token(match.lastgroup, match[0], at))  # type: ignore[arg-type]
        at = match.end()
    return tokens


def _check_escapes(query: str, match: re.Match[str]) -> None:
    r"""Refuse `\u` escapes of ASCII characters: Neo4j decodes them before it looks for the end of the text."""
    for escape in _ESCAPED.finditer(match[0]):
        if int(escape[1], 16) < 0x80:
            raise forbidden(query, f"{escape[0]} escapes an ASCII character; write the character", match.start())


def _shown(text: str) -> str:
    return repr(text) if text.isprintable() else f"a character with the number {ord(text[0]):,}"


class _Walk:
    """A single scan over the tokens of a statement."""

    def __init__(self, query: str, tokens: list[_Token], engine: Literal["ladybug", "neo4j"], write: bool) -> None:
        self._query, self._engine, self._write = query, engine, write
        while tokens and tokens[-1].text == ";":
            tokens.pop()
        self._tokens = tokens
        self._at = self._start = 0
        self._clauses = _READING | (_CHANGING if write else frozenset())
        self._names = (_CHANGING | _OTHERS) - self._clauses | {"CALL"}
        """Clause words that are refused where a variable can stand."""

    def check(self) -> None:
        """Check all tokens.

        Raises:
            StoreError: something in the statement is not allowed.
        """
        state = "fresh"  # "fresh": a clause is expected; "open": an operand is expected; "done": an operand ended
        if self._token().word in ("EXPLAIN", "PROFILE"):
            self._at += 2 if self._token(1).word == "LOGICAL" else 1
        self._start = self._at
        if self._token().word == "SHOW" and self._engine == "neo4j":
            self._skip_shown()
            state = "done"
        elif self._write and self._token().word in ("CREATE", "DROP", "ALTER") and self._token(1).word in _SCHEMA:
            return self._check_schema_change()
        while self._at < len(self._tokens):
            state = self._step(state)
            self._at += 1

    def _token(self, ahead: int = 0) -> _Token:
        place = self._at + ahead
        return self._tokens[place] if 0 <= place < len(self._tokens) else _Token("end", "", len(self._query))

    def _refuse(self, what: str, token: _Token | None = None, changes: bool = False) -> StoreError:
        offset = (token or self._token()).offset
        return forbidden(self._query, what, min(offset, len(self._query)), changes, self._write)

    def _step(self, state: str) -> str:
        token, before = self._token(), self._token(-1).text
        if token.kind == "mark":
            return self._mark(token.text, before, state)
        if before == ".":  # property, range or map access; a dotted name is read completely at its first part
            if token.kind in ("word", "quoted") and self._token(1).text == "(":
                raise self._refuse(f"{token.text}() is not a function")
            return "done"
        if token.kind == "word":
            if self._token(-1).word == "AS":
                return self._name()
            if state == "fresh":
                return self._first(token, before)
            return self._after(token) if state == "done" else self._operand(token)
        if token.kind != "quoted":
            return "done"
        if state == "done":
            raise self._refuse(f"{token.text} is a name; a clause or an operator is expected here")
        return self._name()

    def _mark(self, text: str, before: str, state: str) -> str:
        if text == ";":
            raise self._refuse("the text holds more than one statement; run them one at a time")
        if text == "{":
            return "fresh"
        if text in (")", "]", "}"):
            return "done"
        if text == "*" and (state != "done" or before == "."):
            return "done"  # as in RETURN * and count(*)
        if self._at == self._start:
            raise self._refuse(f"{text} starts no clause")
        return state if text == "." else "open"

    def _first(self, token: _Token, before: str) -> str:
        """Return the state after a word where a clause is expected, or after a key of a map."""
        if before == "{" and self._token(1).text in (":", ",", "}"):
            return "done"
        if self._token(-1).word == "UNION" and token.word in ("ALL", "DISTINCT"):
            return "fresh"
        if token.word in self._clauses - {"WHERE", "ORDER", "UNION"}:
            return self._clause(token)
        if before == "{" and token.word not in self._names:
            return self._operand(token)
        raise self._no_clause(token)

    def _after(self, token: _Token) -> str:
        """Return the state after a word that follows an operand: a clause or an operator."""
        if token.word in self._clauses:
            return self._clause(token)
        if token.word in _INFIX:
            return "open"
        if token.word in _POSTFIX:
            return "done"
        raise self._no_clause(token)

    def _operand(self, token: _Token) -> str:
        """Return the state after a word where an operand is expected: a name, a function or a prefix word."""
        following = self._token(1).text
        if self._write and token.word in _CHANGING and self._token(-1).word != "ON" and following != ":":
            return self._clause(token)
        if self._token(-1).word == "ON" and token.word in (*_CHANGING, "MATCH", "ERROR"):
            return "done"
        is_name = following == ":" or self._token(-1).text in (":", "|", "&", "!")
        if token.word in self._names and not is_name:
            raise self._no_clause(token)
        if token.word in _PREFIX and not (token.word in ("ALL", "ANY") and following == "("):
            return "open"
        if token.word in ("EXISTS", "COUNT", "COLLECT") and following == "{":
            return "open"
        return self._name()

    def _clause(self, token: _Token) -> str:
        if token.word == "CALL":
            return self._call()
        return "fresh" if token.word in ("OPTIONAL", "UNION", "DETACH", "NODETACH") else "open"

    def _call(self) -> str:
        if self._token(1).text in ("{", "("):
            return "open"
        self._at += 1
        start, name = self._token(), self._path()
        allowed = PROCEDURES[self._engine] | (WRITING_PROCEDURES if self._write else frozenset())
        if name not in allowed or (self._engine == "ladybug" and self._token(1).text != "("):
            shown = ", ".join(sorted(allowed))
            raise self._refuse(f"CALL {name or self._token().text} is not allowed; allowed procedures: {shown}", start)
        return "done"

    def _name(self) -> str:
        """Return the state after a name or dotted name; one before a parenthesis must be an allowed function."""
        start, name = self._token(), self._path()
        if self._token(1).text == "(" and name not in FUNCTIONS:
            near = near_matches(name, FUNCTIONS)
            raise self._refuse(f"{name}() is not an allowed function{near}", start)
        return "done"

    def _path(self) -> str:
        """Advance to the end of a dotted name and return the name in lower case."""
        parts = []
        while self._token().kind in ("word", "quoted"):
            text = self._token().text
            parts.append(text[1:-1] if self._token().kind == "quoted" else text)
            if self._token(1).text != "." or self._token(2).kind not in ("word", "quoted"):
                break
            self._at += 2
        name = ".".join(parts)
        return name.lower() if name.isascii() else name

    def _no_clause(self, token: _Token) -> StoreError:
        words = [
            token.text,
            *(self._token(n).text for n in (1, 2) if self._token(n).word in ("FROM", "CSV", "DATABASE")),
        ]
        said, changes = " ".join(words).upper(), token.word in _CHANGING
        if changes:
            return self._refuse(f"{said} changes the graph", token, changes)
        if token.word in _OTHERS:
            return self._refuse(f"{said} is not allowed: it accesses more than the graph", token)
        return self._refuse(f"{token.text} is not a clause or operator of a query that {self._may()}", token)

    def _may(self) -> str:
        return "changes the graph" if self._write else "reads"

    def _skip_shown(self) -> None:
        self._at += 1
        while self._token().word in _SHOWN:
            self._at += 1
        shown = self._token(-1).word
        if not shown.startswith(("INDEX", "CONSTRAINT")):
            raise self._refuse("SHOW is allowed only for INDEXES and CONSTRAINTS")

    def _check_schema_change(self) -> None:
        """Check a statement that changes tables, indexes or constraints: it may hold no file path and no query."""
        for before, token in pairwise(self._tokens[self._at :]):
            is_path = token.kind == "text" and before.word != "DEFAULT"
            outside = is_path or token.word in (*_OTHERS - {"DROP"}, "WITH", "AS")
            if self._engine == "ladybug" and outside:
                raise self._refuse(f"{token.text} is not allowed in a statement that changes tables", token)
            if token.text == ";":
                raise self._refuse("the text holds more than one statement; run them one at a time", token)
