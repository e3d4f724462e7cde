"""Where the `kgrec` command and `python -m kgrec` start: Ctrl-C is answered even while kgrec is being imported."""

import os
import sys

from kgrec._util import memory
from kgrec._util.streams import flush_output, open_closed_streams, write_stderr

INTERRUPTED = 130


def main() -> None:
    """Run the command; an interruption, or too little memory, is one line on stderr, never a traceback."""
    # Threads that wait for one another sleep: two jobs whose threads spin on the same cores hardly get on.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    open_closed_streams()
    limit = memory.address_space_limit()
    if limit is not None and limit < memory.MIN_MEMORY_BYTES:
        sys.exit(_out_of_memory())
    sys.exit(_run() if limit is None else memory.run_watched(lambda: sys.exit(_run())))


def _run() -> int | str | None:
    """Run the command, and return what to exit with."""
    try:
        from kgrec.cli.app import main as run

        run()
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as end:
        return _interrupted() if end.code == INTERRUPTED else end.code or flush_output()
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        return _out_of_memory()
    return 0


def _out_of_memory() -> int:
    write_stderr(f"error: {memory.advice()}")
    return 1


def _interrupted() -> int:
    write_stderr("interrupted; nothing was left half-written")
    return INTERRUPTED


def _leave_working_folder() -> None:
    """Import nothing from the working folder, which `python -m` puts first, unless kgrec itself is there."""
    here = os.path.realpath(os.curdir)
    if sys.path and os.path.realpath(sys.path[0]) == here and here != os.path.dirname(os.path.dirname(__file__)):
        del sys.path[0]


if __name__ == "__main__":
    _leave_working_folder()
    main()
