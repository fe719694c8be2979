"""The ASGI application: routes, layers, and every failure in one form."""

from __future__ import annotations

from typing import Any, NoReturn

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from albertine import __version__
from albertine.serving.describing import describe
from albertine.serving.envelope import Envelope
from albertine.serving.gate import Gate
from albertine.serving.problems import Problem, allowed_by, path_of
from albertine.serving.routes_models import models_router
from albertine.serving.routes_shared import shared_router
from albertine.serving.routes_state import state_router
from albertine.serving.service import Service

__all__ = ["create_app"]


class _App(FastAPI):
    """FastAPI with a document that knows the server's models.

    Args:
        service: the state of the server.
    """

    def __init__(self, service: Service) -> None:
        # No pages for the document: they load scripts from elsewhere.
        super().__init__(title="Albertine", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
        self._service = service
        self._described: list[int] | None = None
        """Of which generations of the models the document is."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, with the names of the models that can do something."""
        current = [one.current for one in self._service.models.values()]
        generations = [0 if one is None else one.number for one in current]
        if self.openapi_schema is None or generations != self._described:
            self.openapi_schema = describe(self, self._service)
            self._described = generations
        return self.openapi_schema


def create_app(service: Service) -> FastAPI:
    """Return the application of a server; its models are loaded by whoever runs it."""
    app = _App(service)
    for router in (models_router(service), shared_router(service), state_router(service)):
        app.include_router(router)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(RequestValidationError, _invalid)
    # The last one added is the outermost.
    app.add_middleware(Gate, service=service)
    app.add_middleware(Envelope, service=service)
    if service.options.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.options.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    return app


async def _plain(request: Request, error: Exception) -> NoReturn:
    """Say what the router does not find in the words of all other failures; the outermost layer writes them."""
    assert isinstance(error, HTTPException), "registered for it"
    if error.status_code == 404:
        raise Problem(404, "not_found", "there is nothing here", where="path", received=request.url.path)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        raise Problem(
            405,
            "method_not_allowed",
            "this path takes another method",
            received=request.method,
            allowed=headers.get("Allow"),
            headers=headers,
        )
    raise Problem(error.status_code, "invalid_input", str(error.detail), headers=headers)


async def _invalid(request: Request, error: Exception) -> NoReturn:
    """Say what is wrong with a parameter in the words of all other failures."""
    assert isinstance(error, RequestValidationError), "registered for it"
    found = error.errors()[0]
    raise Problem(
        422,
        "invalid_input",
        "not a value of this parameter",
        where=path_of([str(part) for part in found["loc"]]),
        received=found.get("input"),
        allowed=allowed_by(found),
    )
