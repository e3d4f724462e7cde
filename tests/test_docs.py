"""Every snippet of the documentation works: run in a temporary folder, page by page, from top to bottom.

A page's Python snippets share their names; its commands see what earlier ones wrote. Comments before a snippet say
what is special about it:

    <!-- file: NAME -->      the snippet is the file NAME, or part of one that is there already
    <!-- output -->          the snippet is what the snippet before it prints
    <!-- not run: WHY -->    it only has to be well-formed
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

import kgrec
from kgrec.cli.app import main
from loaders.mapping import TableMapping

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPET = re.compile(r"(?:^<!-- (?P<note>[^\n]*) -->\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
ONLY_KGREC = re.compile(r"(kgrec [^|&;\n]*\n)+")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page; `line` is that of its first row, `note` the comment before it."""

    page: Path
    line: int
    language: str
    text: str
    note: str


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text(encoding="utf-8")
    return [
        Snippet(page, text.count("\n", 0, m.start("text")) + 1, m["language"], m["text"], m["note"] or "")
        for m in SNIPPET.finditer(text)
    ]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the data that the pages name, an empty cache, and the command `kgrec` of this environment."""
    cache = tmp_path / "cache"
    small_movielens(cache / "kgrec" / "ml-100k")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("KGREC_CACHE", str(cache / "kgrec"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "page"
    shutil.copytree(ROOT / "docs" / "shop", folder)
    shutil.copytree(ROOT / "tests" / "data" / "cinema", folder / "cinema")
    monkeypatch.chdir(folder)
    return folder


def small_movielens(folder: Path) -> None:
    """Write the small cinema where, and in the columns in which, ml-100k is cached: nothing has to be fetched."""
    folder.mkdir(parents=True)
    tables = {
        path.suffix: pd.read_csv(path, sep="\t", dtype=str) for path in (ROOT / "tests/data/cinema").glob("cinema.*")
    }
    tables[".user"] = tables[".user"].assign(**{"gender:token": "F", "zip_code:token": "10115"})
    tables[".item"] = tables[".item"].rename(
        columns={"title:token_seq": "movie_title:token_seq", "genre:token_seq": "class:token_seq"}
    )
    tables[".kg"] = tables[".kg"].replace({"directed_by": "film.film.directed_by"})
    for suffix, table in tables.items():
        ids = [column for column in table.columns if column in ("user_id:token", "item_id:token")]
        table[ids] = table[ids].replace(r"^[uf]", "", regex=True)
        table.to_csv(folder / f"ml-100k{suffix}", sep="\t", index=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_snippets_run(page: Path, place: Path) -> None:
    names: dict[str, object] = {}
    printed = ""
    for snippet in snippets(page):
        try:
            if snippet.note == "output":
                assert printed.strip() == snippet.text.strip()
            elif snippet.language in RUN:
                printed = RUN[snippet.language](snippet, names)
        except Exception as error:
            pytest.fail(f"{page.name}:{snippet.line}: {type(error).__name__}: {error}")


def run_python(snippet: Snippet, names: dict[str, object]) -> str:
    code = compile(snippet.text, f"{snippet.page.name}:{snippet.line}", "exec")
    return "" if is_left_out(snippet) else executed(code, names)


def executed(code: object, names: dict[str, object]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, names)  # type: ignore[arg-type]  # running the documentation is the point
    return out.getvalue()


def run_bash(snippet: Snippet, names: dict[str, object]) -> str:
    if not is_left_out(snippet) and ONLY_KGREC.fullmatch(snippet.text):
        return "".join(run_kgrec(shlex.split(line, comments=True)) for line in snippet.text.splitlines())
    script = ["bash", *(["-n"] if is_left_out(snippet) else ["-euo", "pipefail"]), "-c", snippet.text]
    done = subprocess.run(script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def run_kgrec(words: list[str]) -> str:
    """Run one command in this process, which has loaded torch and transformers already."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code, f"{shlex.join(words)} ended with {end.value.code}"
    return out.getvalue()


def run_yaml(snippet: Snippet, names: dict[str, object]) -> str:
    data = yaml.safe_load(snippet.text)
    if snippet.note.startswith("file: "):
        part_of(Path(snippet.note.removeprefix("file: ")), snippet.text)
    elif "roles" in data:
        kgrec.Schema.parse(snippet.text)
    elif any("source" in str(value) for value in data.get("relationships", {}).values()):
        TableMapping.model_validate(data)
    elif not is_left_out(snippet):
        kgrec.Config.checked(data)
    return ""


def run_csv(snippet: Snippet, names: dict[str, object]) -> str:
    part_of(Path(snippet.note.removeprefix("file: ")), snippet.text)
    return ""


def part_of(path: Path, text: str) -> None:
    if path.exists():
        assert text in path.read_text(encoding="utf-8"), f"{path} does not hold this"
    else:
        path.write_text(text, encoding="utf-8")


def run_cypher(snippet: Snippet, names: dict[str, object]) -> str:
    """Run every statement on the page's graph; each has an answer."""
    if is_left_out(snippet):
        return ""
    [graph] = Path().glob("*.lbug")
    with kgrec.open(graph, read_only=True) as store:
        for query in snippet.text.split(";"):
            if query.strip():
                assert len(store.cypher(query)), f"no rows: {query}"
    return ""


def is_left_out(snippet: Snippet) -> bool:
    assert snippet.note != "not run:", "say why it is not run"
    return snippet.note.startswith("not run: ")


RUN = {
    "python": run_python,
    "bash": run_bash,
    "yaml": run_yaml,
    "csv": run_csv,
    "turtle": run_csv,
    "cypher": run_cypher,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_resolve(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_modules_named_in_pages_exist(page: Path) -> None:
    named = re.findall(
        r"\b(?:kgrec|loaders|benchmarks|scripts|tests)/[\w./-]+\.(?:py|sh)", page.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_tree_names_every_folder() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [Path(line) for line in listed.stdout.splitlines()]
    top = {path.parts[0] for path in files}
    packages = {path.parent.as_posix() for path in files if path.name == "__init__.py"}
    named = set(tree())
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert (top | packages) - named == set()


def tree() -> Iterator[str]:
    """Yield the paths of the tree of docs/reference/tree.md: two spaces of indentation a level."""
    [block] = [s for s in snippets(ROOT / "docs/reference/tree.md") if s.language == "text"]
    folders: list[str] = []
    for line in block.text.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], name.rstrip("/")]
        if not name.startswith("*"):
            yield "/".join(folders)


def test_tables_equal_results() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/make_tables.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "source",
    [p for p in (*ROOT.glob("kgrec/**/*.py"), *ROOT.glob("loaders/*.py")) if "docs/" in p.read_text(encoding="utf-8")],
    ids=lambda p: p.name,
)
def test_pages_named_in_messages_exist(source: Path) -> None:
    for page in re.findall(r"docs/[\w/-]+\.md", source.read_text(encoding="utf-8")):
        assert (ROOT / page).is_file()
