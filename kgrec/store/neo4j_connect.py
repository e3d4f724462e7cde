"""Reaching a Neo4j server: its address, the credentials, the driver, and what goes wrong as a `StoreError`."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, LiteralString, TypeVar, cast
from urllib.parse import unquote, urlsplit

import platformdirs
import yaml

from kgrec.errors import MissingExtra, StoreError

if TYPE_CHECKING:
    import neo4j

T = TypeVar("T")
FETCH_SIZE: Final = 2000
DEFAULT_PORT: Final = 7687
RETRY_SECONDS: Final = 30.0
"""How long a transaction is tried again when the server is away."""

OLDEST: Final = (5, 26)
"""The first version with every statement used here."""

_SCHEMES: Final = ("neo4j", "neo4j+s", "neo4j+ssc", "bolt", "bolt+s", "bolt+ssc")
_NEO4J: Final = re.compile(r"Neo4j/(\d+)\.(\d+)")
_DUPLICATE: Final = re.compile(r"have the label `(\w+)` and property `(\w+)` = (.*?)\.?$", re.DOTALL)
_EXISTS: Final = re.compile(r"already exists with label `(\w+)` and property `(\w+)` = (.*?)\.?$", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """Where a graph is.

    Attributes:
        server: what the driver takes, `scheme://host:port`.
        place: `host:port`, as in the credentials file.
        database: name of the database; None for the server's default.
    """

    server: str
    place: str
    database: str | None

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Read `neo4j://host:port/database`.

        Raises:
            StoreError: the URI has another form, or holds a user or a password (which are not repeated).
        """
        parts = urlsplit(uri)
        if "@" in parts.netloc:
            raise StoreError(f"{parts.scheme}://…: a user or password in the URI; leave it out. {_ways('host:port')}")
        try:
            host, port = parts.hostname, parts.port or DEFAULT_PORT
        except ValueError:
            host, port = None, 0
        database = unquote(parts.path.strip("/"))
        if parts.scheme not in _SCHEMES or not host or "/" in database or parts.query or parts.fragment:
            raise StoreError(f"{uri}: not the address of a Neo4j graph; expected neo4j://host:7687/database")
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return cls(f"{parts.scheme}://{place}", place, database or os.environ.get("NEO4J_DATABASE") or None)


class Connection:
    """A driver for one database."""

    def __init__(self, uri: str) -> None:
        """Connect to a server.

        Raises:
            StoreError: no server there, another kind of server, wrong or missing credentials.
            MissingExtra: the driver is not installed.
        """
        address = Address.parse(uri)
        self.uri, self.database = uri, address.database
        self.driver = _driver(address)
        self._bookmarks = _bookmarks()

    def session(self, write: bool = False, **config: Any) -> neo4j.Session:
        """Open a session; what one session of this connection wrote, the next one sees, in a cluster too."""
        return self.driver.session(
            database=self.database,
            default_access_mode="WRITE" if write else "READ",
            bookmark_manager=self._bookmarks,
            fetch_size=FETCH_SIZE,
            **config,
        )

    def transact(self, work: Callable[[neo4j.ManagedTransaction], T]) -> T:
        """Do work in one write transaction; again, for `RETRY_SECONDS`, if the server is away or says that it may succeed.

        Raises:
            StoreError: it failed; nothing was written, or, if the server went away at the end, perhaps everything.
        """
        with translated(self.uri), self.session(write=True) as session:
            return session.execute_write(work)

    def read(self, work: Callable[[neo4j.ManagedTransaction], T]) -> T:
        """Do work in one transaction that cannot write.

        Raises:
            StoreError: it failed.
        """
        with translated(self.uri), self.session() as session:
            return session.execute_read(work)

    def declare(self, statement: str) -> None:
        """Run a statement that declares something: it has a transaction of its own."""
        with translated(self.uri), self.session(write=True) as session:
            session.run(cast("LiteralString", statement)).consume()

    def close(self) -> None:
        """Let the server go."""
        self.driver.close()


def _driver(address: Address) -> neo4j.Driver:
    try:
        import neo4j
    except ImportError:
        raise MissingExtra('Neo4j needs another package; run: pip install "kgrec[neo4j]"') from None
    logging.getLogger("neo4j").addHandler(logging.NullHandler())
    driver = neo4j.GraphDatabase.driver(
        address.server,
        auth=credentials(address.place),
        max_transaction_retry_time=RETRY_SECONDS,
        notifications_min_severity="OFF",
    )
    try:
        with translated(address.server):
            _check_server(address, driver.get_server_info().agent)
    except BaseException:
        driver.close()
        raise
    return driver


def _bookmarks() -> neo4j.api.BookmarkManager:
    import neo4j

    return neo4j.GraphDatabase.bookmark_manager()


def credentials(place: str) -> tuple[str, str]:
    """Return user and password: from the environment, else from the credentials file.

    Raises:
        StoreError: neither has them, or the file cannot be read.
    """
    password = os.environ.get("NEO4J_PASSWORD")
    if password:
        return os.environ.get("NEO4J_USER") or "neo4j", password
    path = _credentials_file()
    entry = _entries(path).get(place) if path.is_file() else None
    if entry is None:
        raise StoreError(f"no password for {place}. {_ways(place)}")
    if not isinstance(entry, Mapping) or not isinstance(entry.get("password"), str):
        raise StoreError(f"{path}: {place} has no password that is a text; expected: {_entry(place)}")
    return str(entry.get("user", "neo4j")), entry["password"]


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn what the driver raises in the block into a `StoreError`; `uri` names the graph."""
    from neo4j.exceptions import DriverError, Neo4jError

    try:
        yield
    except (DriverError, Neo4jError) as error:
        raise StoreError(explain(uri, error)) from error
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(f"{uri}: {_one_line(error)}") from error


def explain(uri: str, error: Exception) -> str:
    """Return in one sentence what a driver's error means and what to do."""
    from neo4j import exceptions

    code = getattr(error, "code", None) or ""
    message = _one_line(error)
    if code in ("Neo.ClientError.Schema.ConstraintCreationFailed", "Neo.ClientError.Schema.ConstraintValidationFailed"):
        return _violated(uri, error)
    if isinstance(error, exceptions.AuthError) and "Forbidden" not in code:
        return f"{uri}: the server refused the user or the password; check NEO4J_USER and NEO4J_PASSWORD ({code})"
    if code.endswith("DatabaseNotFound"):
        return f"{uri}: {message}; SHOW DATABASES lists those there are"
    if "Forbidden" in code or "ReadOnly" in code or "NotALeader" in code or "read-only" in message.lower():
        return (
            f"{uri}: the user or the database may not do this: {message}; use a role and a database that allow writing"
        )
    if isinstance(error, exceptions.ServiceUnavailable | exceptions.SessionExpired):
        return f"{uri}: no Neo4j server answers, or the connection broke: {message}; is it running, is the port Bolt's?"
    if isinstance(error, exceptions.TransientError):
        return f"{uri}: the server gave up for now: {message}; try again"
    return f"{uri}: {message}"


def is_gone(error: BaseException) -> bool:
    """Say whether an error (or what it came from) means that the server cannot be reached."""
    from neo4j.exceptions import ServiceUnavailable, SessionExpired

    return isinstance(error, ServiceUnavailable | SessionExpired) or bool(error.__cause__ and is_gone(error.__cause__))


def quote(name: str) -> str:
    """Return a name as Cypher takes it whatever it holds."""
    return "`" + name.replace("`", "``") + "`"


def _check_server(address: Address, agent: str) -> None:
    version = _NEO4J.match(agent)
    if not version:
        raise StoreError(f"{address.server}: the server there is {agent!r}, not Neo4j")
    if (int(version[1]), int(version[2])) < OLDEST:
        raise StoreError(f"{address.server}: {agent} is too old; Neo4j {OLDEST[0]}.{OLDEST[1]} or later is needed")


def _credentials_file() -> Path:
    given = os.environ.get("KGREC_CREDENTIALS")
    return Path(given).expanduser() if given else platformdirs.user_config_path("kgrec") / "credentials.yaml"


def _entries(path: Path) -> Mapping[str, Any]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        # The text of a YAML error shows the line, and with it the password.
        raise StoreError(
            f"{path}: cannot be read as YAML ({type(error).__name__}); expected: {_entry('host:port')}"
        ) from None
    return entries if isinstance(entries, Mapping) else {}


def _ways(place: str) -> str:
    return f"Set NEO4J_USER and NEO4J_PASSWORD, or write {_entry(place)} into {_credentials_file()}"


def _entry(place: str) -> str:
    return f"'{place}: {{user: neo4j, password: …}}'"


def _violated(uri: str, error: Exception) -> str:
    message = str(getattr(error, "message", error))
    found = _DUPLICATE.search(message) or _EXISTS.search(message)
    if not found:
        return f"{uri}: the data there violates a constraint: {_one_line(error)}"
    label, key, value = found.groups()
    return (
        f"{uri}: {label}.{key} identifies a {label}, but more than one {label} has {key} = {value}; "
        "remove or merge those that are there, or choose another key"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(getattr(error, "message", None) or error).split())
