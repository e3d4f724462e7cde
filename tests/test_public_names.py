"""The public interface: names, a light import, and the commands."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.main import get_command

import kgrec
from kgrec.cli.app import app

COMMANDS = {
    *(
        "demo",
        "load",
        "check",
        "cypher",
        "explore",
        "train",
        "evaluate",
        "benchmark",
        "recommend",
        "serve",
        "keys",
        "experiment",
        "similar",
        "nearest",
    ),
    *("explain", "runs", "publish", "doctor", "sparql", "copy", "export", "unpublish", "schema", "encoders"),
    *("audit", "forget"),
    *("rollback", "refresh"),
}


def commands(group: typer.core.TyperGroup, prefix: str = "") -> dict[str, typer.core.TyperCommand]:
    found = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found |= commands(command, f"{name} ") if inner else {prefix + name: command}
    return found


ALL = commands(get_command(app))


@pytest.mark.parametrize("name", kgrec.__all__)
def test_public_names_exist_and_are_documented(name: str) -> None:
    assert getattr(kgrec, name).__doc__


def test_public_names_are_sorted_and_unknown_ones_fail() -> None:
    assert kgrec.__all__ == sorted(kgrec.__all__)
    with pytest.raises(AttributeError, match="No kgrec attribute recomend"):
        kgrec.recomend  # noqa: B018


def test_importing_kgrec_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'torch_geometric', 'pandas', 'pyarrow', 'ladybug'}"
    code = f"import sys, kgrec; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_importing_cli_does_not_import_torch() -> None:
    code = "import sys, kgrec.cli.app; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_all_commands_exist() -> None:
    assert set(get_command(app).commands) == COMMANDS


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_parameter_has_help(name: str, kgrec) -> None:
    shown = kgrec(*name.split(), "--help")
    assert shown.code == 0
    assert ALL[name].help.splitlines()[0].split()[0] in shown.out
    assert [p.name for p in ALL[name].params if not getattr(p, "help", None)] == []


@pytest.mark.parametrize("name", sorted(set(ALL) - {"demo", "serve"}))
def test_every_command_with_a_result_prints_json(name: str) -> None:
    assert "as_json" in [parameter.name for parameter in ALL[name].params]
