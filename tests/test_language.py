"""Docstrings, messages, help, comments and pages use the field's words, in American spelling."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("kgrec", "loaders", "graph_schema")
PAGES = ("docs", "README.md", "CONTRIBUTING.md", "SECURITY.md")
TEXT_FILES = (".md", ".yaml", ".yml", ".cypher", ".sparql", ".rq")

FIELD_WORDS = {
    r"newcomers?": "cold-start user",
    r"strangers?": "user of a non-overlapping domain, or unknown sender",
    r"stand-?ins?": "segment model, or replacement",
    r"at home": "in-domain",
    r"anew": "again",
    r"learnt": "learned",
    r"rungs?": "value of a search range",
    r"behaviours?": "behavior",
    r"neighbours?": "neighbor",
    r"centre[ds]?": "center",
    r"colour(?:s|ed)?": "color",
    r"catalogues?": "catalog",
    r"asked about": "validation, or requested",
    r"came later": "added after the fit",
    r"(?<!counts\s)as one(?! [\w`])": "merged",
    r"of those who": "of users who",
    r"telling": "informative, or reporting",
    r"validation cut": "validation split",
    r"what serves": "the live run, or model",
    r"gone back to": "rolled back to",
}
"""Banned word, as a regular expression → the word of recommender systems, or of American English, to write instead."""

NAMES_OF_CODE = re.compile(
    r"roles\.behaviours|`(behaviours|neighbours)`|`behaviours\.|\"behaviours\"|\bbehaviours:|\{(behaviours|neighbours)[:}]"
    r"|, neighbours, behaviours\b|\bbehaviours  |<BEHAVIOUR>|`BEHAVIOUR`"
)
"""Keys of the schema and placeholders of templates that are spelled as they are: no prose."""


class Text(NamedTuple):
    """A piece of prose, and the line of its file on which it begins."""

    line: int
    text: str


def banned(text: str) -> Iterator[tuple[int, str]]:
    """Yield the offset in lines of each banned word of a text, and what to write instead."""
    prose = NAMES_OF_CODE.sub(lambda name: "_" * len(name[0]), text)
    for pattern, instead in FIELD_WORDS.items():
        words = pattern.replace(" ", r"\s+")
        for match in re.finditer(rf"(?<![\w-])(?:{words})(?![\w-])", prose, re.IGNORECASE):
            yield prose.count("\n", 0, match.start()), f"'{' '.join(match[0].split())}': write {instead}"


def literal(node: ast.expr) -> str:
    """Text of a string or an f-string; values filled in are `{}`."""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "{}"


def prose_of(source: str) -> Iterator[Text]:
    """Every string with a blank of a Python source, docstrings included, and every block of comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            text = literal(node)
            if " " in text.strip():
                yield Text(node.lineno, text)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(token.start[0], token.string)


def faults(root: Path, folders: tuple[str, ...]) -> list[str]:
    """`file:line: 'word': write the field's word` of every banned word under some folders or files of a root."""
    found = set()
    for path in files(root, folders):
        source = path.read_text(encoding="utf-8")
        for line, text in prose_of(source) if path.suffix == ".py" else [Text(1, source)]:
            found |= {(path.relative_to(root).as_posix(), line + at, word) for at, word in banned(text)}
    return [f"{path}:{line}: {word}" for path, line, word in sorted(found)]


def files(root: Path, folders: tuple[str, ...]) -> Iterator[Path]:
    """Python sources and pages under some folders; a file stands for itself."""
    for top in (root / folder for folder in folders):
        yield from [top] if top.is_file() else (p for p in sorted(top.rglob("*")) if p.suffix in (".py", *TEXT_FILES))


@pytest.mark.parametrize("folder", [*CODE, *PAGES])
def test_prose_uses_no_banned_word(folder: str) -> None:
    assert list(files(ROOT, (folder,))), f"nothing to read in {folder}"
    assert not (found := faults(ROOT, (folder,))), "banned words:\n" + "\n".join(found)


def test_banned_words_are_reported_with_line(tmp_path: Path) -> None:
    (tmp_path / "made_up.py").write_text(
        '"""Scores.\n\nFor users at\nhome here."""\n\n'
        "RATE = 1  # learnt by hand\n"
        'KEY = "newcomers"\n'
        'raise ValueError(f"{RATE} strangers " "stand in")\n'
    )
    (tmp_path / "page.md").write_text("# Page\n\nEach behaviour counts.\n")
    assert faults(tmp_path, ("made_up.py", "page.md")) == [
        "made_up.py:3: 'at home': write in-domain",
        "made_up.py:6: 'learnt': write learned",
        "made_up.py:8: 'strangers': write user of a non-overlapping domain, or unknown sender",
        "page.md:3: 'behaviour': write behavior",
    ]


@pytest.mark.parametrize(
    "text",
    ["Read `roles.behaviours` and fill in {neighbours}.", "behaviours: {LIKED: {}}", "Query <BEHAVIOUR> as one table."],
)
def test_code_names_are_not_prose(text: str) -> None:
    assert not list(banned(text))
