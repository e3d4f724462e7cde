"""A short form of `make chaos`: three kills of a refresh at seeded moments, with a reader beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


def test_refresh_survives_kills(tmp_path: Path) -> None:
    out = tmp_path / "chaos.json"
    environment = {name: value for name, value in os.environ.items() if name != "NEO4J_URI"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, CHAOS, "--kills", "3", "--out", out], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())["ladybug"]
    assert found["kills"] == 3
    assert found["reads"] > 0
    assert [found[name] for name in ("not_equal", "mixed", "empty", "failed")] == [0, 0, 0, 0]
