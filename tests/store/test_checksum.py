"""Damage of a graph file is detected on opening; file modes stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kgrec.errors import StoreError
from kgrec.store import checksum, open_graph
from kgrec.store.oxigraph import versions
from kgrec.testing.store_contract import contract_tables

ENGINES = ["{}", "oxigraph:{}"]


@pytest.fixture(params=ENGINES, ids=["ladybug", "oxigraph"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A small graph."""
    if ":" in request.param:
        pytest.importorskip("pyoxigraph")
    uri = str(request.param).format(tmp_path / "graph")
    with open_graph(uri, create=True) as store:
        store.write(contract_tables())
    return uri


def files_of(uri: str) -> list[Path]:
    """Return the files that hold a graph."""
    path = Path(uri.removeprefix("oxigraph:"))
    if path.is_file():
        return [path]
    [version] = path.glob("graph-*")
    return [file for file in version.iterdir() if file.name != "LOCK" and not file.name.startswith("LOG")]


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9999])
def test_graph_with_a_flipped_bit_is_not_opened(uri: str, share: float) -> None:
    for file in files_of(uri):
        whole = file.read_bytes()
        if not whole:
            continue
        flip(file, int(share * len(whole)))
        for read_only in (True, False):
            with pytest.raises(StoreError, match=r"cannot open .*damaged.* Restore .*from a backup, or load the data"):
                assert open_graph(uri, read_only=read_only).schema is None
        file.write_bytes(whole)
    with open_graph(uri, read_only=True) as store:
        assert store.schema is not None


def test_copied_graph_keeps_its_checksum(uri: str, tmp_path: Path) -> None:
    for file in files_of(uri):
        file.write_bytes(file.read_bytes())
        os.utime(file, (0, 0))
    with open_graph(uri, read_only=True) as store:
        assert store.schema is not None


def test_graph_without_a_checksum_is_opened_and_gets_one(uri: str) -> None:
    path = Path(uri.removeprefix("oxigraph:"))
    if path.is_file():
        checksum.unseal(path)
        assert not checksum.check(path)
    else:
        [version] = path.glob("graph-*")
        (version / "kgrec.json").unlink()
        assert not versions.check(version)
    with open_graph(uri, create=True) as store:
        store.write(contract_tables())
        store.write(contract_tables())
    if path.is_file():
        assert checksum.check(path)
    else:
        assert [versions.check(version) for version in path.glob("graph-*")] == [True, True]


def test_file_above_the_limit_is_left_to_doctor(uri: str) -> None:
    [file, *_] = files_of(uri)
    if len(files_of(uri)) == 1:
        flip(file, 100)
        assert not checksum.check(file, limit=1000)
    else:
        assert not versions.check(file.parent, limit=10)


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_graph_keeps_its_mode_when_it_is_rewritten(uri: str, mode: int) -> None:
    for file in files_of(uri):
        file.chmod(mode)
    files_of(uri)[0].parent.chmod(0o700)
    with open_graph(uri, create=True) as store:
        store.write(contract_tables())
        store.remove("User", "a")
    assert {file.stat().st_mode & 0o777 for file in files_of(uri)} == {mode}
    assert files_of(uri)[0].parent.stat().st_mode & 0o777 == 0o700


def test_new_graph_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with open_graph(tmp_path / "graph.lbug", create=True) as store:
            store.write(contract_tables())
    finally:
        os.umask(before)
    assert (tmp_path / "graph.lbug").stat().st_mode & 0o777 == 0o600
