"""Connecting to Neo4j: address, credentials, and translation of driver errors to `StoreError`."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import platformdirs
import yaml

from kgrec._util.safe_yaml import read_text, read_yaml
from kgrec.errors import MissingExtra, StoreError
from kgrec.store.query_errors import offset_of, refused, too_long
from kgrec.store.uri import check_uri

if TYPE_CHECKING:
    import neo4j

_RETRY_SECONDS: Final = 15.0
"""Time limit for connecting and for retries, in seconds."""

_MIN_VERSION: Final = (5, 26)
_LOGGERS: Final = ("neo4j.io", "neo4j.notifications", "neo4j.pool")
"""Loggers of driver warnings that repeat errors which kgrec raises."""

_IS_ANSWERING: Final = ContextVar("is_answering", default=False)
"""True while kgrec itself, rather than other code in this process, uses the driver."""

_PLACE = re.compile(r"\(line (\d+), column (\d+) \(offset: \d+\)\)")


def connect(uri: str) -> tuple[neo4j.Driver, str | None]:
    """Return a driver for a URI, and the database named by the URI or NEO4J_DATABASE, if any.

    Raises:
        StoreError: no server answers, it is not Neo4j 5.26 or later, or it refuses the user, password or database.
        MissingExtra: the driver is not installed.
    """
    try:
        import neo4j
    except ImportError:
        raise MissingExtra('Neo4j needs a package that is not installed; run: pip install "kgrec[neo4j]"') from None
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_not_repeated)
    check_uri(uri)
    parts = urlsplit(uri)
    database = parts.path.strip("/") or os.environ.get("NEO4J_DATABASE")
    address = f"{parts.scheme}://{parts.netloc}"
    with answering(address):
        driver = neo4j.GraphDatabase.driver(
            address,
            auth=_credentials(parts.netloc),
            connection_timeout=_RETRY_SECONDS,
            max_transaction_retry_time=_RETRY_SECONDS,
            user_agent="kgrec",
        )
        try:
            agent = driver.get_server_info().agent
            version = re.fullmatch(r"Neo4j/(\d+)\.(\d+)\S*", agent)
            if not version or (int(version[1]), int(version[2])) < _MIN_VERSION:
                raise StoreError(f"{address} is {agent}; expected Neo4j 5.26 or later")
            driver.execute_query("RETURN 1", database_=database, routing_=neo4j.RoutingControl.READ)
        except BaseException:
            driver.close()
            raise
    return driver, database


def _credentials(address: str) -> tuple[str, str]:
    user, password = os.environ.get("NEO4J_USER", "neo4j"), os.environ.get("NEO4J_PASSWORD")
    if password is not None:
        if re.search("[\ud800-\udfff]", user + password):
            raise StoreError("NEO4J_USER or NEO4J_PASSWORD holds bytes that are not UTF-8. Expected UTF-8 text")
        return user, password
    path = Path(os.environ.get("KGREC_CREDENTIALS") or platformdirs.user_config_path("kgrec") / "credentials.yaml")
    entry = _entry(path, address)
    if "password" not in entry:
        raise StoreError(
            f"no password for {address}; set NEO4J_USER and NEO4J_PASSWORD, or write `{address}: {{user: …, password: "
            f"…}}` to {path}"
        )
    return str(entry.get("user", "neo4j")), str(entry["password"])


def _entry(path: Path, address: str) -> dict[str, Any]:
    entries: Any = None
    is_readable = True
    try:
        entries = read_yaml(read_text(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        is_readable = False
    if not is_readable:  # raised outside `except`, so that no chained error quotes the file
        expected = "YAML: host:port: {user: …, password: …}"
        raise StoreError(f"the credentials file cannot be read: {path}. Expected {expected}")
    entry = entries.get(address) if isinstance(entries, dict) else None
    return entry if isinstance(entry, dict) else {}


@contextmanager
def answering(place: str, query: str | None = None, time_limit: float = 0, before: str = "") -> Iterator[None]:
    """Convert the driver's errors in the block to `StoreError`.

    Args:
        place: URI for the message.
        query: the user's query; None for a statement of kgrec.
        time_limit: time limit of the query in seconds.
        before: text sent to the server before the query, on the same line.
    """
    from neo4j import exceptions

    ours = _IS_ANSWERING.set(True)
    try:
        yield
    except exceptions.AuthError as error:
        raise StoreError(f"{place} refused the user or the password; check NEO4J_USER and NEO4J_PASSWORD") from error
    except (exceptions.ServiceUnavailable, exceptions.SessionExpired, OSError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(
            f"no Neo4j server answers at {place}, or the connection was lost: {reason}{_tls(place)}"
        ) from error
    except exceptions.Neo4jError as error:
        raise _refused(place, error, query, time_limit, len(before)) from error
    except (exceptions.DriverError, ValueError, TypeError) as error:
        text = f"{place} cannot be used: {error}" if query is None else str(error)
        raise (StoreError(text) if query is None else refused(query, text, "neo4j")) from error
    finally:
        _IS_ANSWERING.reset(ours)


def _is_not_repeated(record: logging.LogRecord) -> bool:
    """Return False for driver warnings during kgrec's own statements, since kgrec raises them as errors."""
    return record.levelno < logging.WARNING or not _IS_ANSWERING.get()


def _tls(place: str) -> str:
    """Return a hint about TLS for encrypted schemes, since the driver's error often does not mention it."""
    if "+s" not in urlsplit(place).scheme:
        return ""
    return "; +s needs a server with TLS and a trusted certificate, +ssc accepts any certificate; without TLS: neo4j://"


def _refused(
    place: str, error: neo4j.exceptions.Neo4jError, query: str | None, time_limit: float, before: int
) -> StoreError:
    code, message = str(error.code), str(error.message or error)
    if "TransactionTimedOut" in code and query is not None:
        return too_long(query, time_limit)
    if code.endswith("DatabaseNotFound"):
        return StoreError(f"{place}: {message.splitlines()[0]}. Expected {place}/DATABASE with an existing database")
    if query is not None:
        match = _PLACE.search(message)
        offset = offset_of(query, int(match[1]), int(match[2])) if match else None
        if offset is not None and match and match[1] == "1":
            offset = max(0, offset - before)
        reason = _PLACE.sub("", message.splitlines()[0]).strip() or code
        return refused(query, reason, "neo4j", offset)
    if code.endswith(("ConstraintCreationFailed", "ConstraintValidationFailed")):
        reason = " ".join(message.split())
        return StoreError(f"{place}: {reason}; keys must be unique: rename or remove one node, then load again")
    if "Forbidden" in code or "AccessMode" in code or "ReadOnly" in code:
        return StoreError(f"{place} does not allow this user to write: {message.splitlines()[0]}")
    return StoreError(f"{place} reported an error: {message}")
