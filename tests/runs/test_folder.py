import json
import os
import threading

import numpy as np
import pyarrow as pa
import pytest

from kgrec.errors import RunError
from kgrec.runs.folder import FORMAT, find_run, list_runs, new_name, read_run, root_of, write_run

pytestmark = pytest.mark.slow

TABLES = {"recommendations": pa.table({"user_id": ["u1"], "rank": [1]})}
ARRAYS = {"signal-gnn": {"node_vectors": np.arange(6, dtype=np.float32).reshape(2, 3)}}


def test_run_round_trip_is_equal(tmp_path):
    write_run(tmp_path / "a", {"seed": 3}, TABLES, ARRAYS)
    run = read_run(tmp_path / "a")
    assert run.name == "a"
    assert run.info["seed"] == 3
    assert run.table("recommendations").equals(TABLES["recommendations"])
    np.testing.assert_array_equal(run.arrays("signal-gnn")["node_vectors"], ARRAYS["signal-gnn"]["node_vectors"])


def test_rewriting_a_run_replaces_it(tmp_path):
    write_run(tmp_path / "a", {"seed": 1}, TABLES, ARRAYS)
    write_run(tmp_path / "a", {"seed": 2}, TABLES, ARRAYS)
    assert read_run(tmp_path / "a").info["seed"] == 2
    assert os.listdir(tmp_path) == ["a"]


def test_failed_write_keeps_the_old_run(tmp_path):
    write_run(tmp_path / "a", {"seed": 1}, TABLES, ARRAYS)
    with pytest.raises(TypeError):
        write_run(tmp_path / "a", {"seed": object()}, TABLES, ARRAYS)
    assert read_run(tmp_path / "a").info["seed"] == 1
    assert os.listdir(tmp_path) == ["a"]


def test_foreign_folder_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(RunError, match="exists and is not a run"):
        write_run(tmp_path / "photos", {}, TABLES, ARRAYS)
    with pytest.raises(RunError, match=r"is not a run: it has no run\.json"):
        read_run(tmp_path / "photos")


def test_run_of_another_format_is_refused(tmp_path):
    write_run(tmp_path / "a", {}, TABLES, ARRAYS)
    info = json.loads((tmp_path / "a" / "run.json").read_text())
    (tmp_path / "a" / "run.json").write_text(json.dumps({**info, "format": FORMAT + 1}))
    with pytest.raises(RunError, match=rf"has format {FORMAT + 1}\. Expected {FORMAT}\. Update kgrec"):
        read_run(tmp_path / "a")
    (tmp_path / "a" / "run.json").write_text(json.dumps({**info, "format": FORMAT - 1}))
    with pytest.raises(RunError, match=rf"has format {FORMAT - 1}\. Expected {FORMAT}\. Run: kgrec train"):
        read_run(tmp_path / "a")


@pytest.mark.parametrize("damage", ["", "{", '{"format": "x"}', "[]"])
def test_damaged_run_is_named(tmp_path, damage):
    write_run(tmp_path / "a", {}, TABLES, ARRAYS)
    (tmp_path / "a" / "run.json").write_text(damage)
    with pytest.raises(RunError, match=r"run\.json is damaged .*\. Restore the folder, or train again"):
        read_run(tmp_path / "a")


def test_missing_and_damaged_parts_are_named(tmp_path):
    run = write_run(tmp_path / "a", {}, TABLES, ARRAYS)
    (tmp_path / "a" / "arrays" / "signal-gnn.safetensors").write_bytes(b"junk")
    with pytest.raises(RunError, match=r"signal-gnn\.safetensors cannot be read"):
        run.arrays("signal-gnn")
    with pytest.raises(RunError, match=r"nodes-User\.parquet cannot be read"):
        run.table("nodes-User")


def test_list_runs_oldest_first_and_find_by_name(tmp_path):
    write_run(tmp_path / "b", {"created": "2026-01-02"}, {}, {})
    write_run(tmp_path / "a", {"created": "2026-01-03"}, {}, {})
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "run.json").write_text("junk")
    assert [run.name for run in list_runs(tmp_path)] == ["b", "a"]
    assert find_run(tmp_path).name == "a"
    assert find_run(tmp_path, "b").name == "b"
    with pytest.raises(RunError, match=r"no run 'c' in .*\. Expected one of: b, a"):
        find_run(tmp_path, "c")
    with pytest.raises(RunError, match="Run: kgrec train GRAPH"):
        find_run(tmp_path / "nowhere")


def test_new_names_differ_and_runs_are_beside_the_graph():
    assert new_name() != new_name()
    assert str(root_of("data/shop.lbug")) == "data/shop.runs"


def test_newest_run_within_one_second_is_found(tmp_path):
    for name in ("c", "a", "b"):
        write_run(tmp_path / name, {}, {}, {})
    assert [run.name for run in list_runs(tmp_path)] == ["c", "a", "b"]


def test_newest_run_ignores_the_clock(tmp_path):
    write_run(tmp_path / "future", {"created": "2099-01-01"}, {}, {})
    write_run(tmp_path / "now", {}, {}, {})
    assert [run.name for run in list_runs(tmp_path)] == ["future", "now"]
    assert find_run(tmp_path).name == "now"


def test_runs_without_number_are_oldest(tmp_path):
    for name, created in (("new", None), ("b", "2098"), ("a", "2099")):
        run = write_run(tmp_path / name, {"created": created} if created else {}, {}, {})
        if created:
            info = {key: value for key, value in run.info.items() if key not in ("number", "files")}
            (run.folder / "run.json").write_text(json.dumps(info))
    write_run(tmp_path / "newer", {}, {}, {})
    assert [run.name for run in list_runs(tmp_path)] == ["b", "a", "new", "newer"]


def test_run_written_again_keeps_its_number(tmp_path):
    first = write_run(tmp_path / "a", {"seed": 1}, TABLES, ARRAYS)
    write_run(tmp_path / "b", {}, {}, {})
    write_run(tmp_path / "a", first.info, {}, {})
    assert [run.name for run in list_runs(tmp_path)] == ["a", "b"]
    assert read_run(tmp_path / "a").info["files"].keys() == {"choices.json"}


def test_concurrent_runs_get_different_numbers(tmp_path):
    threads = [threading.Thread(target=write_run, args=(tmp_path / str(i), {}, {}, {})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.number for run in list_runs(tmp_path)] == list(range(1, 9))


@pytest.mark.parametrize("name", ["choices.json", "tables/recommendations.parquet", "arrays/signal-gnn.safetensors"])
def test_run_with_flipped_bit_is_refused(tmp_path, name):
    run = write_run(tmp_path / "a", {}, TABLES, ARRAYS, {"seed": 2})
    content = bytearray((run.folder / name).read_bytes())
    content[-3] ^= 1
    (run.folder / name).write_bytes(content)
    part = name.rpartition("/")[2].partition(".")[0]
    read = {"choices": lambda: run.choices, "recommendations": lambda: run.table(part)}
    with pytest.raises(RunError, match=rf"{name} cannot be read \(its checksum does not match\)\. Restore"):
        read.get(part, lambda: run.arrays(part))()


@pytest.mark.parametrize(("umask", "of_file", "of_folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_run_files_follow_the_umask(tmp_path, umask, of_file, of_folder):
    before = os.umask(umask)
    try:
        run = write_run(tmp_path / "a", {}, TABLES, ARRAYS)
    finally:
        os.umask(before)
    write_run(tmp_path / "a", {}, TABLES, ARRAYS)
    paths = [run.folder, *run.folder.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {of_folder}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {of_file}
