"""Reader of a folder of RecBole atomic files, as tables of strings.

The format is tab-separated text without quoting; header cells are `name:type`. A data set NAME has NAME.inter and any
of NAME.item, NAME.user, NAME.kg, NAME.link, NAME.net; a fixed split has NAME.train.inter, NAME.valid.inter and
NAME.test.inter (https://recbole.io/docs/user_guide/data/atomic_files.html).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.data.columns import to_mask, trim
from kgrec.data.schema_checks import RESERVED_PROPERTIES
from kgrec.data.tables import Origin, locate, taken
from kgrec.errors import DataError, Problem
from loaders.delimited import UNQUOTED_TSV, read_delimited
from loaders.names import identifiers

KINDS: Final = ("token", "token_seq", "float", "float_seq")
SPLIT: Final = "split"
"""Column with the split of an interaction: the benchmark file it came from."""

SPLITS: Final = ("train", "valid", "test")
DOMAIN: Final = "domain"
"""Column with the domain of an item."""

_IDS: Final[dict[str, tuple[str, ...]]] = {
    "inter": ("user_id", "item_id"),
    "item": ("item_id",),
    "user": ("user_id",),
    "kg": ("head_id", "relation_id", "tail_id"),
    "link": ("item_id", "entity_id"),
    "net": ("source_id", "target_id"),
}
_FILE = re.compile(r"(?P<name>.+?)(?:\.(?P<split>train|valid|test))?\.(?P<part>inter|item|user|kg|link|net)")
_Found = dict[tuple[str, str | None], Path]


@dataclass(frozen=True)
class AtomicTable:
    """One part of a data set, such as its items.

    Attributes:
        path: the file, or the first of several.
        table: n rows of string columns, named by identifiers; an empty value is null.
        kinds: column → token, token_seq, float or float_seq.
        origins: source lines of the rows.
    """

    path: Path
    table: pa.Table
    kinds: Mapping[str, str]
    origins: tuple[Origin, ...]

    def renamed(self, names: Mapping[str, str]) -> AtomicTable:
        """Return the part with columns renamed."""
        columns = [names.get(name, name) for name in self.table.column_names]
        kinds = {names.get(name, name): kind for name, kind in self.kinds.items()}
        called = [{names.get(name, name): old for name, old in origin.columns.items()} for origin in self.origins]
        origins = tuple(replace(o, columns=c) for o, c in zip(self.origins, called, strict=True))
        return replace(self, table=self.table.rename_columns(columns), kinds=kinds, origins=origins)


@dataclass(frozen=True)
class AtomicFiles:
    """A data set: `inter`, with a column `split` if there are benchmark files, and the other parts that have a file.

    `problems` are those of rows that are left out.
    """

    name: str
    inter: AtomicTable
    item: AtomicTable | None = None
    user: AtomicTable | None = None
    kg: AtomicTable | None = None
    link: AtomicTable | None = None
    net: AtomicTable | None = None
    problems: Sequence[Problem] = ()


def read_folder(folder: Path) -> AtomicFiles:
    """Return the content of all atomic files of a folder, without the rows that have a problem.

    Raises:
        DataError: a file cannot be read at all; lists every problem of every file.
    """
    name, paths = _find(folder)
    tables: dict[tuple[str, str | None], AtomicTable] = {}
    problems: list[Problem] = []
    broken: list[Problem] = []
    for key, path in paths.items():
        try:
            tables[key] = _read(path, key[0], problems)
        except DataError as error:
            broken += error.problems
    splits = {split: tables["inter", split] for split in SPLITS if ("inter", split) in tables}
    broken += _header_differences(list(splits.values()))
    if broken:
        raise DataError([*problems, *broken])
    parts = {part: table for (part, split), table in tables.items() if split is None}
    parts |= {"inter": _joined(splits)} if splits else {}
    return _with_domains(AtomicFiles(name, problems=problems, **parts))


def is_atomic(folder: Path) -> bool:
    """Return whether a folder has interactions in the atomic format."""
    return folder.is_dir() and any(folder.glob("*.inter"))


def _find(folder: Path) -> tuple[str, _Found]:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise DataError([Problem(str(folder), found, "a folder of RecBole atomic files")])
    matches = [(match, path) for path in sorted(folder.iterdir()) if (match := _FILE.fullmatch(path.name))]
    names = sorted({match["name"] for match, _ in matches})
    if len(names) > 1:
        found = f"files of {len(names)} data sets: {', '.join(names)}"
        raise DataError([Problem(str(folder), found, "one data set per folder")])
    paths = {(str(match["part"]), match["split"]): path for match, path in matches}
    if not any(part == "inter" for part, _ in paths):
        expected = "NAME.inter, or NAME.train.inter and NAME.test.inter"
        raise DataError([Problem(str(folder), "no .inter file", expected)])
    return names[0], _without_unsplit_file(folder, paths)


def _without_unsplit_file(folder: Path, paths: _Found) -> _Found:
    """Return the paths without NAME.inter if benchmark files exist, because it contains their test rows."""
    splits = {split for part, split in paths if part == "inter" and split}
    if not splits:
        return paths
    if "train" not in splits:
        found = f"benchmark files {', '.join(sorted(splits))}"
        raise DataError([Problem(str(folder), found, "a .train.inter file beside them")])
    return {key: path for key, path in paths.items() if key != ("inter", None)}


def _read(path: Path, part: str, problems: list[Problem]) -> AtomicTable:
    """Return a part without the rows that have a problem, which is appended to `problems`."""
    text = read_delimited(path, UNQUOTED_TSV)
    problems += text.problems
    cells = [[part.strip() for part in cell.rpartition(":")] for cell in text.table.column_names]
    wrong = [
        Problem(str(path), repr(f"{name}{colon}{kind}"), f"name:type with a type of {', '.join(KINDS)}", 1)
        for name, colon, kind in cells
        if kind not in KINDS or not name
    ]
    columns = [name for name, _, _ in cells]
    twice = sorted(name for name, n in Counter(columns).items() if name and n > 1)
    wrong += [Problem(str(path), "the column twice", "each column once", 1, name) for name in twice]
    missing = [name for name in _IDS[part] if name not in columns]
    if missing and not wrong:
        found = f"the header {', '.join(columns)}"
        wrong = [Problem(str(path), found, f"a column {', '.join(missing)}", 1)]
    if wrong:
        raise DataError(wrong)
    table = _trimmed(text.table.rename_columns(columns), (*_IDS[part], DOMAIN))
    table, origins = _with_ids(table, part, text.origins, problems)
    return _named(path, part, table, [kind for _, _, kind in cells], columns, origins)


def _named(
    path: Path, part: str, table: pa.Table, kinds: list[str], columns: list[str], origins: tuple[Origin, ...]
) -> AtomicTable:
    names = _column_names(columns, part)
    called = dict(zip(names, columns, strict=True))
    origins = tuple(replace(origin, columns=called) for origin in origins)
    return AtomicTable(path, table.rename_columns(names), dict(zip(names, kinds, strict=True)), origins)


def _trimmed(table: pa.Table, names: Iterable[str]) -> pa.Table:
    for name in names:
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, trim(table.column(name)))
    return table


def _column_names(columns: list[str], part: str) -> list[str]:
    ids = _IDS[part]
    taken = [*ids, *RESERVED_PROPERTIES, *(("src", "dst", SPLIT) if part == "inter" else ())]
    named = identifiers((column for column in columns if column not in ids), taken)
    return [named.get(column, column) for column in columns]


def _with_ids(
    table: pa.Table, part: str, origins: tuple[Origin, ...], problems: list[Problem]
) -> tuple[pa.Table, tuple[Origin, ...]]:
    """Return the rows of .kg, .link and .net that have their ids; `check` reports missing ids of the other files."""
    given = np.ones(table.num_rows, dtype=bool)
    for name in () if part in ("inter", "item", "user") else _IDS[part]:
        missing = to_mask(pc.is_null(table.column(name)))
        problems += (problem_at(origins, row, "nothing", "an id", name) for row in np.flatnonzero(missing).tolist())
        given &= ~missing
    return (table, origins) if given.all() else (table.filter(pa.array(given)), taken(origins, np.flatnonzero(given)))


def problem_at(origins: tuple[Origin, ...], row: int, found: str, expected: str, name: str) -> Problem:
    """Return a problem of a row (from 0) of a table."""
    place = locate(origins, row)
    assert place is not None
    return Problem(place.where, found, expected, place.row, name)


def _header_differences(splits: list[AtomicTable]) -> Iterator[Problem]:
    for other in splits[1:]:
        if set(other.table.column_names) != set(splits[0].table.column_names):
            expected = f"those of {splits[0].path.name}: {', '.join(splits[0].table.column_names)}"
            yield Problem(str(other.path), f"columns {', '.join(other.table.column_names)}", expected, 1)


def _joined(splits: Mapping[str, AtomicTable]) -> AtomicTable:
    first = splits["train"]
    tables = [
        part.table.select(first.table.column_names).append_column(
            SPLIT, pa.array([split] * part.table.num_rows, pa.string())
        )
        for split, part in splits.items()
    ]
    origins = tuple(origin for part in splits.values() for origin in part.origins)
    return AtomicTable(first.path, pa.concat_tables(tables), {**first.kinds, SPLIT: "token"}, origins)


def _with_domains(files: AtomicFiles) -> AtomicFiles:
    """Return the files with the items' domain taken from the interactions, if only those have it.

    An item with several domains is a problem; it gets the first one.
    """
    item, inter = files.item, files.inter.table
    if DOMAIN not in inter.column_names or (item and DOMAIN in item.kinds):
        return files
    domains_of_items = inter.select(["item_id", DOMAIN]).drop_null()
    domains = domains_of_items.group_by(["item_id", DOMAIN], use_threads=False).aggregate([])
    if pc.count_distinct(domains.column("item_id")).as_py() < domains.num_rows:
        files = replace(files, problems=[*files.problems, *_in_several_domains(files.inter)])
        domains = domains.group_by("item_id", use_threads=False).aggregate([(DOMAIN, "first")])
        domains = domains.rename_columns(["item_id", DOMAIN])
    if item is None:
        kinds = {"item_id": "token", DOMAIN: "token"}
        return replace(files, item=AtomicTable(files.inter.path, domains, kinds, ()))
    rows = pc.index_in(item.table.column("item_id"), value_set=domains.column("item_id"))
    table = item.table.append_column(DOMAIN, domains.column(DOMAIN).take(rows))
    others = domains.filter(pc.invert(pc.is_in(domains.column("item_id"), value_set=item.table.column("item_id"))))
    table = pa.concat_tables([table, others], promote_options="default")
    return replace(files, item=replace(item, table=table, kinds={**item.kinds, DOMAIN: "token"}))


def _in_several_domains(inter: AtomicTable) -> Iterator[Problem]:
    """Yield a problem for each item with several domains, at the first row that differs from a row before."""
    domains_of_items = inter.table.select(["item_id", DOMAIN]).to_pandas().dropna()
    domains_of_items["first"] = domains_of_items.groupby("item_id")[DOMAIN].transform("first")
    others = domains_of_items[domains_of_items[DOMAIN] != domains_of_items["first"]].drop_duplicates("item_id")
    for row, (item, domain, first) in zip(others.index.tolist(), others.to_numpy().tolist(), strict=True):
        expected = f"{first} as in a row before: one domain per item, or another name for the column"
        yield problem_at(inter.origins, row, f"item {item} in {domain}", expected, DOMAIN)
