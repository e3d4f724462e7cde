"""Connecting to Neo4j: address, credentials, and its errors as kgrec's."""

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
"""How long connecting and retrying may take."""

_MIN_VERSION: Final = (5, 26)
_LOGGERS: Final = ("neo4j.io", "neo4j.notifications", "neo4j.pool")
"""Loggers in which the driver warns of what kgrec raises as an error."""

_IS_ANSWERING: Final = ContextVar("is_answering", default=False)
"""Whether kgrec, and not another user of the driver in this process, is talking to a server."""

_PLACE = re.compile(r"\(line (\d+), column (\d+) \(offset: \d+\)\)")


def connect(uri: str) -> tuple[neo4j.Driver, str | None]:
    """Return a driver for a URI, and the database that the URI or NEO4J_DATABASE names, if any.

    Raises:
        StoreError: nothing answers, or something else than Neo4j, or it refuses user, password or database.
        MissingExtra: the driver is not installed.
    """
    try:
        import neo4j
    except ImportError:
        raise MissingExtra('Neo4j needs a package that is not installed; run: pip install "kgrec[neo4j]"') from None
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_told_as_errors)
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
            raise StoreError("NEO4J_USER or NEO4J_PASSWORD holds bytes that are no text in UTF-8; set both again")
        return user, password
    path = Path(os.environ.get("KGREC_CREDENTIALS") or platformdirs.user_config_path("kgrec") / "credentials.yaml")
    entry = _entry(path, address)
    if "password" not in entry:
        raise StoreError(
            f"no password for {address}; set NEO4J_USER and NEO4J_PASSWORD, or write `{address}: {{user: …, password: "
            f"…}}` into {path}"
        )
    return str(entry.get("user", "neo4j")), str(entry["password"])


def _entry(path: Path, address: str) -> dict[str, Any]:
    found: Any = None
    is_readable = True
    try:
        found = read_yaml(read_text(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        is_readable = False
    if not is_readable:  # raised here, so that the error that quotes the file is not in its chain
        raise StoreError(f"{path} cannot be read; expected YAML: host:port: {{user: …, password: …}}")
    entry = found.get(address) if isinstance(found, dict) else None
    return entry if isinstance(entry, dict) else {}


@contextmanager
def answering(place: str, query: str | None = None, time_limit: float = 0, before: str = "") -> Iterator[None]:
    """Turn what the driver raises in the block into a StoreError.

    Args:
        place: URI for the message.
        query: the user's query, if it is one.
        time_limit: seconds that it may take.
        before: what the server is given before the query, in its first line.
    """
    from neo4j import exceptions

    ours = _IS_ANSWERING.set(True)
    try:
        yield
    except exceptions.AuthError as error:
        raise StoreError(f"{place} refuses the user or the password; check NEO4J_USER and NEO4J_PASSWORD") from error
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


def _told_as_errors(record: logging.LogRecord) -> bool:
    """Return False for the driver's warnings about kgrec's own work: kgrec's errors say the same."""
    return record.levelno < logging.WARNING or not _IS_ANSWERING.get()


def _tls(place: str) -> str:
    """Return what an encrypted connection needs; its failure often does not say."""
    if "+s" not in urlsplit(place).scheme:
        return ""
    return "; +s needs a server with TLS and a certificate that is trusted, +ssc any TLS; without TLS write neo4j://"


def _refused(
    place: str, error: neo4j.exceptions.Neo4jError, query: str | None, time_limit: float, before: int
) -> StoreError:
    code, message = str(error.code), str(error.message or error)
    if "TransactionTimedOut" in code and query is not None:
        return too_long(query, time_limit)
    if code.endswith("DatabaseNotFound"):
        return StoreError(f"{place}: {message.splitlines()[0]}; expected {place}/DATABASE with one that is there")
    if query is not None:
        found = _PLACE.search(message)
        offset = offset_of(query, int(found[1]), int(found[2])) if found else None
        if offset is not None and found and found[1] == "1":
            offset = max(0, offset - before)
        reason = _PLACE.sub("", message.splitlines()[0]).strip() or code
        return refused(query, reason, "neo4j", offset)
    if code.endswith(("ConstraintCreationFailed", "ConstraintValidationFailed")):
        reason = " ".join(message.split())
        return StoreError(f"{place}: {reason}; a key must be unique: rename or remove one, then load again")
    if "Forbidden" in code or "AccessMode" in code or "ReadOnly" in code:
        return StoreError(f"{place} does not allow this user to write: {message.splitlines()[0]}")
    return StoreError(f"{place} refused to go on: {message}")
