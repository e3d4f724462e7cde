"""RDF bombs and binary files: size, nesting and encoding limits."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from kgrec.errors import DataError
from loaders import bounded_reader
from loaders.bounded_reader import JsonNesting, TripleNesting
from loaders.rdf import RdfLoader
from loaders.rdf_files import read_files

pytest.importorskip("pyoxigraph")

TRIPLE = b"<http://e/s> <http://e/p> <http://e/o> .\n"


def complaint(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_files([folder / name])
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.nt.gz", "a.nq.gz"])
def test_gzip_bomb_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_reader, "MAX_UNPACKED", 1 << 20)
    data = gzip.compress(b"\n" * (2 << 20))
    assert "found more than 1 MiB packed in" in complaint(tmp_path, name, data)
    (tmp_path / "good.nt.gz").write_bytes(gzip.compress(TRIPLE * 1000))
    assert len(read_files([tmp_path / "good.nt.gz"])) == 1000


def test_long_line_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_reader, "MAX_LINE", 1 << 20)
    monkeypatch.setattr("loaders.rdf_files.PIECE", 1 << 10)
    assert "found a line of more than 1 MiB" in complaint(tmp_path, "a.nt", b"a" * (3 << 20))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonld", b'{"@id":"http://e/s","http://e/p":' * 20_000 + b"1" + b"}" * 20_000),
        ("a.nt", b"<http://e/s> <http://e/p> " + b"<<( <http://e/s> <http://e/p> " * 20_000 + b"<http://e/o> ."),
        ("a.ttl", b"<http://e/s> <http://e/p> " + b"<<( <http://e/s> <http://e/p> " * 20_000 + b"<http://e/o> ."),
    ],
)
def test_deep_nesting_refused(tmp_path: Path, name: str, data: bytes) -> None:
    assert "found values nested more than 1,000 deep" in complaint(tmp_path, name, data)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_nesting_in_strings_not_counted(size: int) -> None:
    text = b'{"a": "[[[\\"[[\\\\", "b": [1, {"c": "]"}]}' * 5
    nesting = JsonNesting()
    assert max(nesting.depth_with(text[i : i + size]) for i in range(0, len(text), size)) == 3


def test_triples_side_by_side_not_nested() -> None:
    nesting = TripleNesting()
    assert max(nesting.depth_with(b'<< a b c >> d "x << 1" .\n' * 1000) for _ in range(3)) <= 3


def test_binary_lines_are_reported_with_their_numbers(tmp_path: Path) -> None:
    message = complaint(tmp_path, "a.nt", TRIPLE + b'<http://e/s> <http://e/p> "\xe9" .\n' + TRIPLE + b"\xff\n")
    assert "a.nt:2: found byte 0xe9 at position 28 of the line, which is not UTF-8" in message
    assert "a.nt:4: found byte 0xff at position 1 of the line, which is not UTF-8" in message


def test_damaged_gzip_refused(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(TRIPLE * 1000))
    data[20:30] = b"\xff" * 10
    assert "found bytes that cannot be read" in complaint(tmp_path, "a.nt.gz", bytes(data))


def test_incomplete_utf8_character_refused(tmp_path: Path) -> None:
    assert "a.nt:1: " in complaint(tmp_path, "a.nt", b'<http://e/s> <http://e/p> "\\ud83d" .\n')


def test_schema_that_is_not_a_literal_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nt").write_bytes(b"<http://e/s> <urn:kgrec:vocabulary#schema> <http://e/o> .\n")
    with pytest.raises(DataError, match=r"a\.nt:1: .*found a kgrec schema that is not a literal"):
        RdfLoader().load(tmp_path / "a.nt")
