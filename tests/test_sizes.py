"""Limits of the length of functions and files."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
MAX_ARGUMENTS = 7
PUBLIC_ESTIMATOR = ("kgrec/recommender.py", "kgrec/training/estimator.py", "kgrec/data/interactions.py")
"""Files whose functions may take more arguments: each is an option of the estimator, or a column of a frame."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    return sorted(path for package in ("kgrec", "loaders") for path in (ROOT / package).rglob("*.py"))


def functions() -> Iterator[tuple[str, Function]]:
    """Every function and method, with its file and name."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Function):
                yield f"{path.relative_to(ROOT)} {node.name}", node


def n_lines(function: Function) -> int:
    """Lines of a function, its docstring included."""
    return (function.end_lineno or 0) - function.lineno + 1


def n_arguments(function: Function) -> int:
    """Arguments of a function, `self` and `cls` left out."""
    found = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len(found) - (found[:1] in (["self"], ["cls"]))


def is_command(function: Function) -> bool:
    """Whether a function is a command of the command line, whose arguments are the command's options."""
    return any(".command(" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_functions_are_short() -> None:
    lines = [n_lines(function) for _, function in functions()]
    assert np.median(lines) <= 7
    assert np.quantile(lines, 0.9) <= 25


def test_files_are_short() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    long = [name for name, n in lines.items() if n > 400]
    assert len(long) <= 0.1 * len(lines), long


def test_functions_take_few_arguments() -> None:
    many = [
        f"{name}: {n_arguments(function)}"
        for name, function in functions()
        if n_arguments(function) > MAX_ARGUMENTS and not is_command(function) and not name.startswith(PUBLIC_ESTIMATOR)
    ]
    assert many == []


@pytest.mark.parametrize(
    ("text", "lines", "arguments"),
    [("def f(a, /, b, *, c):\n    return a\n", 2, 3), ("def f(self, a):\n    '''Text.'''\n    return a\n", 3, 1)],
)
def test_function_is_measured_with_its_docstring(text: str, lines: int, arguments: int) -> None:
    function = ast.parse(text).body[0]
    assert isinstance(function, Function)
    assert (n_lines(function), n_arguments(function)) == (lines, arguments)
