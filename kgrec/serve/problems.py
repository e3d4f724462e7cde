"""Errors as problem details (RFC 9457): what was found, what was expected, the request's id; no path or traceback."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from kgrec.errors import KgrecError, UnknownItem, UnknownUser, UsageError

MEDIA_TYPE: Final = "application/problem+json"


class Problem(BaseModel):
    """Why a request failed."""

    type: str = Field(default="about:blank", examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["unknown item: 'i9'. Expected an item of the release"])
    request_id: str = Field(examples=["5f1c9a0e2b7d4c31"])
    errors: list[dict[str, Any]] = Field(default=[], description="Each invalid part of the request: where, what.")


class Failure(Exception):
    """A request that fails with a status and a reason for the caller."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def problem(
    request_id: str,
    status: int,
    detail: str,
    errors: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a response with a problem."""
    content = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, request_id=request_id, errors=errors or []
    )
    return JSONResponse(content.model_dump(), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Make an app answer every error with a problem."""

    @app.exception_handler(Failure)
    async def failed(request: Request, error: Failure) -> JSONResponse:
        return problem(_id_of(request), error.status, error.detail, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [{"where": ".".join(map(str, part["loc"])), "what": part["msg"]} for part in error.errors()]
        first = errors[0] if errors else {"where": "the request", "what": "invalid"}
        return problem(_id_of(request), 422, f"{first['where']}: {first['what']}", errors)

    @app.exception_handler(KgrecError)
    async def refused(request: Request, error: KgrecError) -> JSONResponse:
        if isinstance(error, UnknownItem | UnknownUser):
            return problem(_id_of(request), 404, str(error))
        if isinstance(error, UsageError):
            return problem(_id_of(request), 422, str(error))
        return internal(_id_of(request))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        return problem(_id_of(request), error.status_code, str(error.detail), headers=error.headers)


def internal(request_id: str) -> JSONResponse:
    """Return the response to a fault of the service, whose reason is in its log only."""
    return problem(request_id, 500, "the service failed; its log has the reason under this request_id")


def _id_of(request: Request) -> str:
    return str(request.scope.get("request_id", ""))
