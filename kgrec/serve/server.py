"""The server process: one or several workers that answer on one port."""

from __future__ import annotations

import ipaddress
import json
import logging
import multiprocessing
import os
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from kgrec.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)

OPTIONS: Final = "KGREC_SERVE"
"""Environment variable with the options, for the workers."""
DRAIN_SECONDS: Final = 30
"""Seconds that running requests have to end after SIGTERM."""
KEEP_ALIVE_SECONDS: Final = 75


@dataclass(frozen=True)
class ServeOptions:
    """Options of a server.

    Attributes:
        graph: URI of the graph.
        host, port: address to answer on.
        runs: folder of runs; default: beside the graph.
        keys: file of API keys; without one, the host must be a loopback address.
        workers: number of processes.
        experiment: file of an A/B test.
        access_log: whether to log requests, one JSON line each.
    """

    graph: str
    host: str = "127.0.0.1"
    port: int = 8000
    runs: str | None = None
    keys: str | None = None
    workers: int = 1
    experiment: str | None = None
    access_log: bool = True


def serve(options: ServeOptions) -> None:
    """Answer requests until the process gets SIGTERM or SIGINT; then end running requests and return.

    Raises:
        MissingExtra: the extra `serve` is not installed.
        UsageError: the address is in use or invalid, or it is reachable from elsewhere and there are no keys.
        StoreError, RunError: see `create_app`.
    """
    try:
        import uvicorn
    except ImportError:
        raise MissingExtra("the service needs FastAPI and uvicorn. Run: pip install 'kgrec[serve]'") from None
    if not options.keys and not _is_local(options.host):
        raise UsageError(
            f"{options.host} is reachable from other machines, and there are no API keys. "
            "Expected --keys FILE, or --host 127.0.0.1"
        )
    _check_address(options.host, options.port)
    os.environ[OPTIONS] = json.dumps(asdict(options))
    settings: dict[str, Any] = {
        "host": options.host,
        "port": options.port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "date_header": False,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": DRAIN_SECONDS,
    }
    keys = f"the API keys of {options.keys}" if options.keys else "no API keys, so for this machine only"
    where = f"answering at http://{options.host}:{options.port} with {keys}"
    if options.workers == 1:
        app = app_of_environment()
        logger.info(where)
        return uvicorn.run(app, **settings)
    logger.info(f"{where}, by {options.workers} workers")
    uvicorn.run(f"{__name__}:app_of_environment", factory=True, workers=options.workers, **settings)


def app_of_environment() -> FastAPI:
    """Return the app with the options of the environment; a worker starts with it."""
    from kgrec.serve.app import create_app

    options = ServeOptions(**json.loads(os.environ[OPTIONS]))
    if multiprocessing.parent_process():  # a worker, whose log the command did not set up
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("kgrec.access").setLevel(logging.INFO if options.access_log else logging.WARNING)
    return create_app(options.graph, options.runs, options.keys, options.experiment)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_address(host: str, port: int) -> None:
    """Check that an address can be bound, since uvicorn only logs that it cannot.

    Raises:
        UsageError: the address is in use or invalid.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{host}:{port} cannot be used: {why}. Choose another --port or --host") from None
