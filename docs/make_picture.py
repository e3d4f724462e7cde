"""Draw what a command prints, as a terminal shows it.

    python docs/make_picture.py kgrec demo                     draws docs/demo.svg
    python docs/make_picture.py kgrec demo --source FOLDER     the same, with data that is here already

The command runs in a pseudo-terminal in a temporary folder; what it writes to stderr (progress) is not drawn. Of its
arguments only the command itself is shown, as a new user would type it.
"""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).with_name("demo.svg")
WIDTH = 120


def main() -> None:
    command = sys.argv[1:] or ["kgrec", "demo"]
    shown = " ".join(command[: command.index("--source")] if "--source" in command else command)
    printed = run(command)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    console.print(Text.assemble(("$ ", "green"), (shown, "bold")))
    console.print(Text.from_ansi(printed))
    PICTURE.write_text(console.export_svg(title=shown), encoding="utf-8")


def run(command: list[str]) -> str:
    """Return what a command prints to a terminal of `WIDTH` columns.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            command, stdout=theirs, cwd=folder, env={**environment, "PATH": path}, stdin=subprocess.DEVNULL
        )
        os.close(theirs)
        printed = b"".join(iter(lambda: chunk(ours), b""))
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command)
    return printed.decode().replace("\r\n", "\n")


def chunk(terminal: int) -> bytes:
    """Read some bytes; none once the command has closed its side, which Linux reports as an error."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


if __name__ == "__main__":
    main()
