"""The routes about the server itself, and the page."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter, Response

from albertine import __version__
from albertine.serving.describing import failures
from albertine.serving.metrics import CONTENT_TYPE_LATEST
from albertine.serving.problems import Problem
from albertine.serving.routes_models import json_answer
from albertine.serving.service import Service
from albertine.serving.state_schemas import Health, Readiness

__all__ = ["state_router"]

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_METRICS = {
    200: {"description": "Every metric.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    **failures(401),
}


def state_router(service: Service) -> APIRouter:
    """Return the routes of health, readiness, metrics and the page."""
    router = APIRouter(tags=["server"])
    page = _page()

    @router.get("/health", response_model=Health, responses=failures())
    async def health() -> Response:
        """Say that the process answers."""
        return json_answer(Health(version=__version__))

    @router.get(
        "/ready",
        response_model=Readiness,
        responses={**failures(), 503: {"model": Readiness, "description": "Requests are not taken now."}},
    )
    async def ready() -> Response:
        """Say whether requests are taken: every model is warm, and the server does not stop."""
        status = service.status
        body = Readiness(status=status, models={name: one.state for name, one in service.models.items()})
        return json_answer(body, 200 if status == "ready" else 503)

    @router.get("/metrics", response_class=Response, responses=_METRICS)
    async def metrics() -> Response:
        """Give numbers about the server in the text format of Prometheus."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @router.get("/", include_in_schema=False)
    async def index() -> Response:
        return _file(page, "index.html")

    @router.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        return _file(page, name)

    return router


def _page() -> dict[str, tuple[bytes, str]]:
    """Return the page's files by their names, each with its media type."""
    found = {}
    for one in (resources.files("albertine") / "serving" / "page").iterdir():
        suffix = one.name[one.name.rfind(".") :]
        if suffix in _TYPES:
            found[one.name] = (one.read_bytes(), _TYPES[suffix])
    return found


def _file(page: dict[str, tuple[bytes, str]], name: str) -> Response:
    if name not in page:
        raise Problem(404, "not_found", "there is nothing here", where="path")
    content, kind = page[name]
    # No copy is kept without asking, so that a newer version is seen at once.
    return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-cache"})
