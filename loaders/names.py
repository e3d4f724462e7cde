"""Conversion of a source's names to identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import pyarrow as pa

from kgrec.rdf import iris

IRI: Final = "^[A-Za-z][A-Za-z0-9+.-]*://"
"""Pattern of the start of an IRI."""


def is_iri(text: str) -> bool:
    """Return whether an id is an IRI, such as `http://dbpedia.org/resource/Alien`."""
    return bool(re.match(IRI, text))


def readable(iri: str) -> str:
    """Return an IRI's local name as display text: `http://dbpedia.org/resource/Joseph_F._Biroc` → `Joseph F. Biroc`."""
    return str(iris.readable(pa.chunked_array([[iri]], pa.string()))[0].as_py())


def identifiers(words: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Return word → identifier, unique among the words and the `taken` names, ignoring case.

    Words are processed in sorted order, so the result does not depend on their input order.
    """
    used = {name.casefold() for name in taken}
    named = {}
    for word in sorted(set(words)):
        plain = _identifier(word)
        name, number = plain, 2
        while name.casefold() in used:
            name, number = f"{plain}_{number}", number + 1
        used.add(name.casefold())
        named[word] = name
    return named


def singular(word: str) -> str:
    """Return the approximate singular of an English noun, for a label: `genres` → `genre`."""
    if word.endswith("ies") and word not in ("series", "species"):
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is", "ies")):
        return word[:-1]
    return word


def _identifier(word: str) -> str:
    local = readable(word) if is_iri(word) else word
    name = re.sub(r"[^A-Za-z0-9]+", "_", local).strip("_") or "unnamed"
    return f"_{name}" if name[0].isdigit() else name


def alike(name: str, others: Iterable[str]) -> list[str]:
    """Return the names that differ from `name` only in case, separators or a `:type` suffix: `Title`, `w:float`."""
    return [other for other in others if other != name and _folded(other) == _folded(name)]


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name.partition(":")[0] or name).casefold()
