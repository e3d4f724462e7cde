"""The `kgrec` command. Each command makes one library call and prints the result as a table or as JSON.

Exit codes: 0 success; 1 failure, findings of an audit, or residue after an erasure; others are in `kgrec/errors.py`.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from kgrec._util.files import reason
from kgrec._util.logs import lines_on_stderr
from kgrec._util.memory import is_out_of_memory
from kgrec._util.notices import notices, to_stderr
from kgrec._util.streams import write_stderr
from kgrec.cli.data import data_app
from kgrec.cli.jobs import jobs_app
from kgrec.cli.options import Json, Runs
from kgrec.cli.output import show_facts
from kgrec.cli.query import query_app
from kgrec.cli.recommend import recommend_app
from kgrec.cli.runs import runs_app
from kgrec.cli.schema import schema_app
from kgrec.cli.serve import serve_app
from kgrec.cli.train import train_app
from kgrec.errors import KgrecError, UnknownUser, UsageError, exit_code

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for commands in (data_app, query_app, train_app, recommend_app, jobs_app, serve_app):
    app.add_typer(commands)
app.add_typer(runs_app, name="runs")
app.add_typer(schema_app, name="schema")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"kgrec {version('kgrec')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version of kgrec.")
    ] = False,
    near_users: Annotated[
        bool, typer.Option("--near-users", help="In the error for an unknown user, list similar user ids.")
    ] = False,
) -> None:
    """A recommender engine whose center is a knowledge graph."""
    context.with_resource(notices(to_stderr))
    context.with_resource(lines_on_stderr())
    context.ensure_object(dict)["near_users"] = near_users


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Folder for the demo's graph and runs.")] = Path("demo"),
    source: Annotated[str | None, typer.Option(help="Local ml-100k folder. Default: download.")] = None,
    cross_domain: Annotated[
        bool, typer.Option("--cross-domain", help="Use packaged synthetic films and books instead.")
    ] = False,
) -> None:
    """Load, train, evaluate, publish and query ml-100k with its knowledge graph."""
    from kgrec.cli.demo import run_cross_domain_demo, run_demo

    if cross_domain and source:
        raise UsageError("found --source and --cross-domain. Expected one: --source is a folder of ml-100k")
    if cross_domain:
        return run_cross_domain_demo(folder)
    run_demo(folder, source)


@app.command()
def doctor(
    graph: Annotated[
        str | None, typer.Argument(help="Graph to verify with its runs, instead of the installation.")
    ] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Check that kgrec is installed correctly, or verify the checksums of a graph and its runs."""
    from kgrec.cli.doctor import examine, examine_graph

    facts, healthy = examine_graph(graph, runs) if graph else examine()
    show_facts(f"{graph or 'kgrec'} is {'healthy' if healthy else 'NOT healthy'}", facts, as_json)
    if not healthy:
        raise typer.Exit(1)


def main() -> None:
    """Run the command. Print a user's error as one message on stderr, without a traceback."""
    context: dict[str, bool] = {}
    try:
        app(obj=context)
    except (KgrecError, OSError) as error:
        if is_out_of_memory(error):
            raise  # `kgrec.__main__` reports memory errors of all libraries
        if isinstance(error, OSError):
            write_stderr(f"error: {error.filename or 'the system'}: {reason(error)}")
            sys.exit(1)
        write_stderr(f"error: {error}{_near(error) if context.get('near_users') else ''}")
        sys.exit(exit_code(error))


def _near(error: KgrecError) -> str:
    """Return a line with the user ids that are similar to an unknown one; empty for other errors."""
    return f"\nusers with similar ids: {', '.join(error.near()) or 'none'}" if isinstance(error, UnknownUser) else ""
