"""What the documentation site holds beside the pages of docs/: pages of the root, the command line, the API.

mkdocs calls the functions of this module while it builds the site. Nothing is written into the checkout.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

import kgrec
from kgrec.cli.app import app

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
NO_API = {"__main__", "_util"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of the API to the navigation."""
    [reference] = [section["Reference"] for section in config.nav if "Reference" in section]
    reference.append({"API": [{name: api_path(name)} for name in ("kgrec", *api_modules())]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, text in generated_pages():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links to the root's pages lead to their place in the site."""
    for source, target in ROOT_PAGES.items():
        markdown = markdown.replace(f"](../../{source}", f"](../{target}")
    return markdown


def generated_pages() -> Iterator[tuple[str, str]]:
    """Yield the path in the site and the Markdown of each generated page."""
    for source, target in ROOT_PAGES.items():
        yield target, in_site((ROOT / source).read_text(encoding="utf-8"))
    yield "reference/cli.md", cli_page()
    yield api_path("kgrec"), public_page()
    for name in api_modules():
        yield api_path(name), f"# kgrec.{name}\n\n::: kgrec.{name}\n"


def in_site(text: str) -> str:
    """Return a page of the root with its links as they are in the site."""
    for source, target in ROOT_PAGES.items():
        text = text.replace(f"]({source}", f"]({target}")
    return text.replace("](docs/", "](")


def cli_page() -> str:
    """Return the help of every command."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="kgrec", title="Command line")
    return re.sub(r"(?m)^#{4,}", "###", text)


def public_page() -> str:
    """Return the page of the public names."""
    values = (getattr(kgrec, name) for name in sorted(kgrec.__all__))
    shown = [value for value in values if inspect.isclass(value) or inspect.isfunction(value)]
    return "# kgrec\n\n" + "\n".join(f"::: {value.__module__}.{value.__qualname__}\n" for value in shown)


def api_modules() -> list[str]:
    """Return the names of the modules and packages directly below kgrec."""
    return [module.name for module in pkgutil.iter_modules(kgrec.__path__) if module.name not in NO_API]


def api_path(name: str) -> str:
    """Return the path in the site of the page of a module."""
    return f"reference/api/{name}.md"
