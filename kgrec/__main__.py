"""Where the `kgrec` command and `python -m kgrec` start: Ctrl-C is answered even while kgrec is being imported."""

import os
import sys

from kgrec._util.streams import flush_output, open_closed_streams, tell

INTERRUPTED = 130


def main() -> None:
    """Run the command; an interruption is one line on stderr, never a traceback."""
    # Threads that wait for one another sleep: two jobs whose threads spin on the same cores hardly get on.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    open_closed_streams()
    try:
        from kgrec.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(_interrupted())
    except SystemExit as end:
        sys.exit(_interrupted() if end.code == INTERRUPTED else end.code or flush_output())


def _interrupted() -> int:
    tell("interrupted; nothing was left half-written")
    return INTERRUPTED


def _leave_working_folder() -> None:
    """Import nothing from the working folder, which `python -m` puts first, unless kgrec itself is there."""
    here = os.path.realpath(os.curdir)
    if sys.path and os.path.realpath(sys.path[0]) == here and here != os.path.dirname(os.path.dirname(__file__)):
        del sys.path[0]


if __name__ == "__main__":
    _leave_working_folder()
    main()
