"""What a user's Cypher may do: it reads, or with `write` changes, the graph, and touches nothing else.

The text is cut into tokens as the engines do, and walked once. Every word that stands where a clause or an operator can
is one of those named here, and every function and procedure one of `cypher_names`; whatever else is there is refused.
So a clause that an engine learns one day is refused until it is named here. Words where a name is meant pass:
variables, labels, properties, and all in backticks.
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
"""Words between two operands."""

_POSTFIX: Final = frozenset(
    {"ASC", "DESC", "ASCENDING", "DESCENDING", "END", "ROW", "ROWS", "CONTINUE", "BREAK", "FAIL", "FINISH"}
)
"""Words after an operand."""

_PREFIX: Final = frozenset(
    {"NOT", "DISTINCT", "CASE", "WHEN", "BY", "WITH", "ALL", "ANY", "SHORTEST", "TYPED", "WHERE"}
)
"""Words before an operand."""

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
        """The word in capitals; of anything else nothing."""
        return self.text.upper() if self.kind == "word" and self.text.isascii() else ""


def check(query: str, engine: Literal["ladybug", "neo4j"], write: bool) -> str:
    """Check that a statement does no more than it may, and return it with blanks in place of comments.

    Args:
        query: the statement.
        engine: whose it is.
        write: it may change the graph.

    Raises:
        StoreError: says what it does and may not, and where.
    """
    tokens = _tokens(query)
    _Walk(query, tokens, engine, write).check()
    return _without_comments(query)


def explained(query: str) -> str:
    """Return what a statement that asks for a plan asks for it of."""
    return re.sub(r"^\s*(EXPLAIN(\s+LOGICAL)?|PROFILE)\b", "", query, count=1, flags=re.IGNORECASE)


def _without_comments(query: str) -> str:
    """Return a query with blanks for comments, so that no engine sees other ones, and every place stays."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\r\n]", " ", match[0]) if match["comment"] else match[0]

    return _TOKEN.sub(blank, query)


def _tokens(query: str) -> list[_Token]:
    found, at = [], 0
    while at < len(query):
        match = _TOKEN.match(query, at)
        if match is None or match.lastgroup is None:
            raise forbidden(
                query, f"{_shown(query[at])} starts nothing that can be read, or a text that does not end", at
            )
        if match.lastgroup in ("text", "quoted"):
            _check_escapes(query, match)
        if match.lastgroup not in ("space", "comment"):
            found.append(_Token(match.lastgroup, match[0], at))  # type: ignore[arg-type]
        at = match.end()
    return found


def _check_escapes(query: str, match: re.Match[str]) -> None:
    """Refuse characters written by number that mean something: Neo4j reads them before it looks for the text's end."""
    for escape in _ESCAPED.finditer(match[0]):
        if int(escape[1], 16) < 0x80:
            raise forbidden(query, f"{escape[0]} stands for a plain character; write it itself", match.start())


def _shown(text: str) -> str:
    return repr(text) if text.isprintable() else f"a character with the number {ord(text[0]):,}"


class _Walk:
    """One walk over the tokens of a statement."""

    def __init__(self, query: str, tokens: list[_Token], engine: Literal["ladybug", "neo4j"], write: bool) -> None:
        self._query, self._engine, self._write = query, engine, write
        while tokens and tokens[-1].text == ";":
            tokens.pop()
        self._tokens = tokens
        self._at = self._start = 0
        self._clauses = _READING | (_CHANGING if write else frozenset())
        self._names = (_CHANGING | _OTHERS) - self._clauses | {"CALL"}
        """Words that are no names unless they stand where nothing else can: in no variable's place."""

    def check(self) -> None:
        """Walk.

        Raises:
            StoreError: something is refused.
        """
        state = "fresh"  # a clause must come; "open": an operand must; "done": an operand was there
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
        if before == ".":  # of a value, a range, or a map; a path of names is read at its start
            if token.kind in ("word", "quoted") and self._token(1).text == "(":
                raise self._refuse(f"{token.text}() is no function")
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
            raise self._refuse(f"{token.text} is a name where a clause or an operator must be")
        return self._name()

    def _mark(self, text: str, before: str, state: str) -> str:
        if text == ";":
            raise self._refuse("a second statement is not run: one at a time")
        if text == "{":
            return "fresh"
        if text in (")", "]", "}"):
            return "done"
        if text == "*" and (state != "done" or before == "."):
            return "done"  # all, as in RETURN * and count(*)
        if self._at == self._start:
            raise self._refuse(f"{text} starts no clause")
        return state if text == "." else "open"

    def _first(self, token: _Token, before: str) -> str:
        """A word where a clause must begin, or a key of a map."""
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
        """A word after an operand: a clause or an operator."""
        if token.word in self._clauses:
            return self._clause(token)
        if token.word in _INFIX:
            return "open"
        if token.word in _POSTFIX:
            return "done"
        raise self._no_clause(token)

    def _operand(self, token: _Token) -> str:
        """A word where an operand must come: a name, a function, or what stands before one."""
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
            raise self._refuse(
                f"CALL {name or self._token().text} is not allowed; the procedures that are: {shown}", start
            )
        return "done"

    def _name(self) -> str:
        """A name, or a path of names; before a parenthesis it is a function."""
        start, name = self._token(), self._path()
        if self._token(1).text == "(" and name not in FUNCTIONS:
            near = near_matches(name, FUNCTIONS)
            raise self._refuse(f"{name}() is not among the functions that a query may call{near}", start)
        return "done"

    def _path(self) -> str:
        """Go to the last of the names that dots join, and return them in lower case."""
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
            return self._refuse(f"{said} is not allowed: it reaches beyond the graph", token)
        return self._refuse(f"{token.text} is no clause or operator of a query that {self._may()}", token)

    def _may(self) -> str:
        return "changes the graph" if self._write else "reads"

    def _skip_shown(self) -> None:
        self._at += 1
        while self._token().word in _SHOWN:
            self._at += 1
        shown = self._token(-1).word
        if not shown.startswith(("INDEX", "CONSTRAINT")):
            raise self._refuse("SHOW is allowed of INDEXES and CONSTRAINTS only")

    def _check_schema_change(self) -> None:
        """Tables, indexes and constraints: names and types, no files and nothing that is run."""
        for before, token in pairwise(self._tokens[self._at :]):
            is_path = token.kind == "text" and before.word != "DEFAULT"
            outside = is_path or token.word in (*_OTHERS - {"DROP"}, "WITH", "AS")
            if self._engine == "ladybug" and outside:
                raise self._refuse(f"{token.text} is not allowed in a change of tables", token)
            if token.text == ";":
                raise self._refuse("a second statement is not run: one at a time", token)
