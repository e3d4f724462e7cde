"""Routes for read-only queries: free ones and named ones. They run in a process of their own, which limits stop."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Annotated, Any

import pandas as pd
from fastapi import APIRouter, Path, Request

from kgrec.errors import StoreError, UsageError
from kgrec.query.named import named_queries, run_named
from kgrec.serve.limits import MAX_QUERY_ROWS, MAX_QUERY_SECONDS
from kgrec.serve.models import NamedQueries, NamedQuery, Query, Rows
from kgrec.serve.problems import Failure
from kgrec.serve.service import Querier, Service
from kgrec.store import open_graph
from kgrec.store.base import GraphStore

router = APIRouter(prefix="/v1", tags=["queries"])
logger = logging.getLogger(__name__)

Name = Annotated[str, Path(pattern=r"^\w{1,64}$", examples=["coverage"])]


@router.post("/query")
def query(service: Querier, given: Query) -> Rows:
    """Run a read-only query in the language of the graph: Cypher or SPARQL."""

    def ask(store: GraphStore) -> pd.DataFrame:
        run = store.cypher if store.language == "cypher" else store.sparql
        return run(given.query, given.parameters, time_limit=MAX_QUERY_SECONDS, row_limit=MAX_QUERY_ROWS)

    return _answer(service, ask)


@router.get("/queries")
def list_queries(service: Querier) -> NamedQueries:
    """List the named queries and their parameters."""
    return NamedQueries(queries=[NamedQuery.model_validate(row) for row in named_queries().to_dict("records")])


@router.get("/queries/{name}")
def named_query(service: Querier, name: Name, request: Request) -> Rows:
    """Run a named query; its parameters are those of the URL."""
    if name not in set(named_queries()["name"]):
        raise Failure(404, f"unknown query {name!r}. Expected one of GET /v1/queries")
    parameters = {key: int(value) if value.isdecimal() else value for key, value in request.query_params.items()}
    return _answer(service, lambda store: run_named(store, name, parameters))


def _answer(service: Service, ask: Callable[[GraphStore], pd.DataFrame]) -> Rows:
    """Return the rows of a query. The engine's own message goes to the log only: it may hold ids and paths."""
    try:
        with open_graph(service.releases.graph, read_only=True) as store:
            frame = ask(store)
    except UsageError:
        raise
    except StoreError as error:
        logger.info(f"query refused: {error}")
        raise Failure(
            400,
            "the query was refused, or it exceeds a limit. Expected one valid read-only statement that takes at most "
            f"{MAX_QUERY_SECONDS:g} seconds and returns at most {MAX_QUERY_ROWS:,} rows",
        ) from None
    rows: list[list[Any]] = json.loads(frame.to_json(orient="values", date_format="iso", default_handler=str))
    return Rows(columns=[str(name) for name in frame.columns], rows=rows)
