"""Loader of MovieLens 100K in the shipped `movies` schema, downloaded or from a folder of atomic or raw files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.files import cache_folder
from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.errors import UsageError
from loaders.atomic import to_graph, with_relations
from loaders.atomic_files import AtomicFiles, AtomicTable, is_atomic, read_folder
from loaders.delimited import Dialect, TextTable, read_delimited
from loaders.fetch import ml_100k

NAME: Final = "ml-100k"
_COLUMNS: Final = {"movie_title": "title", "class": "genre"}
_RAW_TAB: Final = Dialect("\t", quoted=False)
_RAW_BAR: Final = Dialect("|", quoted=False, encoding="latin-1")
_NO_YEARS: Final = pa.array(["unkonwn", "V"])
"""Value in ml-100k.item for the two movies with unknown year."""

_GENRES: Final = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_ITEM_COLUMNS: Final = ("item_id", "title", "release_date", "video_release_date", "url", *_GENRES)


class MovieLensLoader:
    """Loads MovieLens 100K: ratings; age, gender and occupation of users; titles, years and genres of movies; and the
    relations of the knowledge graph, if the files have one.
    """

    def load(self, source: str | Path | None = None, schema: Schema | None = None) -> GraphTables:
        """Read MovieLens 100K.

        Args:
            source: None or "ml-100k" downloads it into the user's cache folder once; a folder is read as RecBole's
                atomic files (ml-100k.inter …) or GroupLens's raw files (u.data …).
            schema: schema of the graph; None uses the shipped `movies`. Relations of the knowledge graph are added.

        Raises:
            UsageError: `source` is none of these.
            DataError: lists every problem of the files, or the reason why the download failed.
        """
        files = _files(source)
        return to_graph(files, with_relations(files, schema or Schema.load("movies")))


def _files(source: str | Path | None) -> AtomicFiles:
    fetched = source is None or source == NAME
    folder = ml_100k(cache_folder()) if fetched else Path(str(source))
    if (folder / "u.data").is_file():
        return _read_raw(folder)
    if is_atomic(folder):
        files = read_folder(folder)
        return replace(files, item=_with_null_years(files.item.renamed(_COLUMNS)) if files.item else None)
    found = "a folder without .inter files or u.data" if folder.is_dir() else "no folder"
    raise UsageError(f"{found} at {str(source)!r}; expected {NAME!r}, which is fetched, or a folder that holds it")


def _with_null_years(item: AtomicTable) -> AtomicTable:
    names = item.table.column_names
    if "release_year" not in names:
        return item
    years = item.table.column("release_year")
    known = pc.if_else(pc.is_in(years, value_set=_NO_YEARS), None, years)
    return replace(item, table=item.table.set_column(names.index("release_year"), "release_year", known))


def _read_raw(folder: Path) -> AtomicFiles:
    ratings = read_delimited(folder / "u.data", _RAW_TAB, ("user_id", "item_id", "rating", "timestamp"))
    users = read_delimited(folder / "u.user", _RAW_BAR, ("user_id", "age", "gender", "occupation", "zip_code"))
    movies = read_delimited(folder / "u.item", _RAW_BAR, _ITEM_COLUMNS)
    movies = replace(movies, table=_movie_columns(movies.table))
    problems = [*ratings.problems, *users.problems, *movies.problems]
    return AtomicFiles(NAME, _part(ratings), _part(movies, ("genre",)), _part(users), problems=problems)


def _part(text: TextTable, sequences: Sequence[str] = ()) -> AtomicTable:
    kinds = {name: "token_seq" if name in sequences else "token" for name in text.table.column_names}
    return AtomicTable(text.path, text.table, kinds, text.origins)


def _movie_columns(raw: pa.Table) -> pa.Table:
    """Return the movies with the year split off titles such as `Toy Story (1995)`, and genre flags as one column."""
    titles = raw.column("title")
    flags = [pc.if_else(pc.equal(raw.column(genre), "1"), genre, None) for genre in _GENRES]
    return pa.table(
        {
            "item_id": raw.column("item_id"),
            "title": pc.replace_substring_regex(titles, r"\s*\(\d{4}\)\s*$", ""),
            "release_year": pc.struct_field(pc.extract_regex(titles, r"\((?P<year>\d{4})\)\s*$"), "year"),
            "genre": pc.binary_join_element_wise(*flags, " ", null_handling="skip"),
        }
    )
