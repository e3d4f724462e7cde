"""The main job on MovieLens 100K: `kgrec demo` from an empty cache and again with a warm one.

python benchmarks/main_job.py            writes benchmarks/results/main_job.json
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "main_job.json"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cold = demo(Path(folder))
        warm = demo(Path(folder))
    result = {
        "command": "python benchmarks/main_job.py",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "demo_cold": cold,
        "demo_warm": warm,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def demo(folder: Path) -> dict[str, Any]:
    """Run `kgrec demo` with its cache in `folder`; the time of another process's load on the machine is in the wall."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("kgrec")), "demo", "--folder", "demo"],
        cwd=folder,
        env={**os.environ, "KGREC_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    encoded, peak = re.search(r"(\d+) texts encoded, peak memory (\d+) MB", done.stdout).groups()
    return {
        "wall_s": round(wall, 1),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "texts_encoded": int(encoded),
        "peak_memory_mb": int(peak),
    }


if __name__ == "__main__":
    main()
