"""Playlists: a text file with one line for each listener, their name, a colon, and songs separated by commas."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from kgrec import GraphTables, Schema
from kgrec.data.tables import Origin
from kgrec.errors import DataError, Problem, UsageError

SCHEMA = Schema.from_dict(
    {
        "name": "playlists",
        "nodes": {"Listener": {"key": "id"}, "Song": {"key": "id", "text": "{id}"}},
        "relationships": {"PLAYED": {"from": "Listener", "to": "Song"}},
        "roles": {"users": "Listener", "items": "Song", "behaviours": {"PLAYED": {}}},
    }
)


class PlaylistLoader:
    """Loads playlists."""

    def load(self, source: str, schema: Schema | None = None) -> GraphTables:
        """Read the file `source`."""
        try:
            lines = Path(source).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise UsageError(f"{source} cannot be read: {error.strerror}") from None
        expected = "LISTENER: SONG, SONG"
        wrong = [n for n, line in enumerate(lines, 1) if not all(part.strip() for part in [*line.partition(":")])]
        if wrong:
            raise DataError([Problem(source, repr(lines[n - 1]), expected, row=n) for n in wrong])
        plays = [
            (n, line.partition(":")[0].strip(), song.strip())
            for n, line in enumerate(lines, 1)
            for song in line.partition(":")[2].split(",")
        ]
        rows, listeners, songs = zip(*plays, strict=True)
        nodes = {"Listener": pa.table({"id": sorted(set(listeners))}), "Song": pa.table({"id": sorted(set(songs))})}
        played = ("Listener", "PLAYED", "Song")
        origin = Origin(source, rows[0], len(rows), rows=np.array(rows))
        return GraphTables(
            schema or SCHEMA, nodes, {played: pa.table({"src": listeners, "dst": songs})}, {played: (origin,)}
        )
