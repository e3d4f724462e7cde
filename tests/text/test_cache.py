import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kgrec.errors import UsageError
from kgrec.testing.encoder import WordEncoder
from kgrec.text import VectorCache, default_encoder, text_vectors
from kgrec.text import cache as cache_module

TEXTS = ["red paint", "", "blue paint", "red paint", "oil filter"]


@pytest.fixture
def encoder():
    return WordEncoder()


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(cache_module, "CHUNK_TEXTS", 4)


def files(folder):
    return sorted(Path(folder).rglob("*.safetensors"))


def test_distinct_texts_are_encoded_once(tmp_path, encoder):
    cache = VectorCache(tmp_path)
    vectors = cache.encode(TEXTS, encoder)
    np.testing.assert_array_equal(vectors[[0, 2, 3, 4]], encoder.encode([TEXTS[i] for i in (0, 2, 3, 4)]))
    assert vectors.dtype == np.float32
    assert (cache.encoded, cache.hits) == (3, 0)


def test_empty_text_is_a_zero_row(tmp_path, encoder):
    cache = VectorCache(tmp_path)
    assert not cache.encode(["", ""], encoder).any()
    assert (cache.encoded, files(tmp_path)) == (0, [])
    assert cache.encode([], encoder).shape == (0, encoder.dim)


def test_second_run_encodes_nothing(tmp_path, encoder):
    first = VectorCache(tmp_path).encode(TEXTS, encoder)
    second = VectorCache(tmp_path)
    np.testing.assert_array_equal(second.encode(TEXTS[::-1], encoder), first[::-1])
    assert (second.encoded, second.hits) == (0, 3)


def test_only_new_texts_are_encoded(tmp_path, encoder):
    cache = VectorCache(tmp_path)
    cache.encode(TEXTS, encoder)
    np.testing.assert_array_equal(cache.encode(["new", *TEXTS], encoder)[0], encoder.encode(["new"])[0])
    assert (cache.encoded, cache.hits) == (4, 3)


def test_encoders_do_not_share_vectors(tmp_path):
    cache = VectorCache(tmp_path)
    cache.encode(TEXTS, WordEncoder(64))
    assert cache.encode(TEXTS, WordEncoder(32)).shape == (5, 32)
    assert (cache.encoded, cache.hits) == (6, 0)


class Interrupted(WordEncoder):
    def encode(self, texts):
        if "text 9" in texts:
            raise KeyboardInterrupt
        return super().encode(texts)


def test_interrupted_run_keeps_finished_chunks(tmp_path, encoder, small_chunks):
    texts = [f"text {i}" for i in range(12)]
    with pytest.raises(KeyboardInterrupt):
        VectorCache(tmp_path).encode(texts, Interrupted())
    after = VectorCache(tmp_path)
    np.testing.assert_array_equal(after.encode(texts, encoder), encoder.encode(texts))
    assert (after.encoded, after.hits) == (4, 8)


def test_killed_process_keeps_finished_chunks(tmp_path, encoder):
    code = f"""
import time
from kgrec.testing.encoder import WordEncoder
from kgrec.text import VectorCache, cache
cache.CHUNK_TEXTS = 4
class Slow(WordEncoder):
    def encode(self, texts):
        time.sleep(0.05)
        return super().encode(texts)
VectorCache({str(tmp_path)!r}).encode([f"text {{i}}" for i in range(4000)], Slow())
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    while len(files(tmp_path)) < 3 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    cache = VectorCache(tmp_path)
    cache.encode([f"text {i}" for i in range(12)], encoder)
    assert (cache.encoded, cache.hits) == (0, 12)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_damaged_file_is_rebuilt(tmp_path, encoder, damage, capfd):
    vectors = VectorCache(tmp_path).encode(TEXTS, encoder)
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again = VectorCache(tmp_path)
    np.testing.assert_array_equal(again.encode(TEXTS, encoder), vectors)
    assert (again.encoded, again.hits) == (3, 0)
    assert files(tmp_path) == [file]
    assert file.read_bytes() == whole
    assert capfd.readouterr().err == ""


def test_files_are_merged(tmp_path, encoder, small_chunks, monkeypatch):
    monkeypatch.setattr(cache_module, "MAX_FILES", 3)
    texts = [f"text {i}" for i in range(40)]
    vectors = VectorCache(tmp_path).encode(texts, encoder)
    assert len(files(tmp_path)) == 10
    after = VectorCache(tmp_path)
    for _ in range(2):
        np.testing.assert_array_equal(after.encode(texts, encoder), vectors)
        assert len(files(tmp_path)) == 1
    assert after.encoded == 0


def test_processes_write_concurrently(tmp_path, encoder):
    code = """
import sys
from kgrec.testing.encoder import WordEncoder
from kgrec.text import VectorCache, cache
cache.CHUNK_TEXTS, cache.MAX_FILES = 4, 2
start = int(sys.argv[1])
for end in range(start + 10, start + 101, 10):
    VectorCache(sys.argv[2]).encode([f"text {i}" for i in range(start, end)], WordEncoder())
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(s), str(tmp_path)]) for s in (0, 50, 0)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    cache = VectorCache(tmp_path)
    texts = [f"text {i}" for i in range(150)]
    np.testing.assert_array_equal(cache.encode(texts, encoder), encoder.encode(texts))
    assert (cache.encoded, cache.hits) == (0, 150)
    assert list(tmp_path.rglob("*.part")) == []


def test_unwritable_folder_disables_the_cache(tmp_path, encoder):
    (tmp_path / "file").write_text("in the way")
    cache = VectorCache(tmp_path / "file" / "vectors")
    np.testing.assert_array_equal(cache.encode(["red"], encoder), encoder.encode(["red"]))
    assert cache.encoded == 1


class Wrong(WordEncoder):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def encode(self, texts):
        return self.change(super().encode(texts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[:, 1:], r"encoder words gives vectors of shape \(3, 63\) for 3 texts; expected \(3, 64\)"),
        (lambda v: v[1:], r"shape \(2, 64\) for 3 texts"),
        (
            lambda v: np.where(np.arange(3)[:, None] == 1, np.nan, v),
            "NaN or infinite vectors for 1 texts, such as 'blue",
        ),
        (lambda v: v / np.float32(0), "NaN or infinite vectors for 3 texts"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_invalid_vectors_are_refused_and_not_cached(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        VectorCache(tmp_path).encode(TEXTS, Wrong(change))
    assert files(tmp_path) == []


def test_texts_are_batched_by_length(tmp_path, small_chunks):
    lengths = []

    class Watched(WordEncoder):
        def encode(self, texts):
            lengths.append([len(text.split()) for text in texts])
            return super().encode(texts)

    VectorCache(tmp_path).encode(["word " * n for n in (9, 1, 8, 2, 7, 3, 6, 4)], Watched())
    assert lengths == [[1, 2, 3, 4], [6, 7, 8, 9]]


def test_environment_variable_sets_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KGREC_CACHE", str(tmp_path))
    assert VectorCache().folder == tmp_path / "vectors"
    monkeypatch.delenv("KGREC_CACHE")
    assert VectorCache().folder.parts[-2:] == ("kgrec", "vectors") or os.name == "nt"


def test_vectors_of_a_graph_with_the_packaged_encoder(tmp_path, communities):
    snapshot, cache = communities, VectorCache(tmp_path)
    vectors = text_vectors(snapshot, default_encoder(), cache)
    assert set(vectors) <= {label for label, node in snapshot.schema.nodes.items() if node.text}
    assert {label: len(v) for label, v in vectors.items()} == {x: snapshot.nodes[x].num_rows for x in vectors}
    again = VectorCache(tmp_path)
    for label, matrix in text_vectors(snapshot, default_encoder(), again).items():
        np.testing.assert_array_equal(matrix, vectors[label])
    assert again.encoded == 0
    assert again.hits == cache.encoded
