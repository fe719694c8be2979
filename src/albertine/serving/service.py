"""Everything that one server holds: its models with their threads, its limits and what is being answered now."""

from __future__ import annotations

from collections.abc import Sequence

from albertine.errors import nearest
from albertine.serving.keys import Keys
from albertine.serving.metrics import Metrics
from albertine.serving.operations import Explainer
from albertine.serving.options import ServerOptions
from albertine.serving.problems import Problem
from albertine.serving.rates import RateLimiter
from albertine.serving.records import RequestRecord
from albertine.serving.served import Generation, ServedModel
from albertine.serving.sources import ModelSource
from albertine.serving.state_schemas import Capability, ServerState
from albertine.serving.worker import Overloaded

__all__ = ["Service", "check_room", "overloaded"]

_LOADING_RETRY = 2
_STOPPING_RETRY = 5


class Service:
    """The state of one server.

    Args:
        sources: what to serve.
        options: limits and switches.
        keys: who may ask.
        explainers: by their names; the first one explains.
    """

    def __init__(
        self,
        sources: Sequence[ModelSource],
        options: ServerOptions,
        *,
        keys: Keys | None = None,
        explainers: dict[str, Explainer] | None = None,
    ) -> None:
        self.options = options
        self.keys = keys or Keys()
        self.rates = RateLimiter(options.requests_per_minute) if options.requests_per_minute else None
        self.metrics = Metrics(self._gauges, lambda: self.active)
        known = explainers or {}
        self.explainer = next(iter(known), None)
        """The name of what explains answers; None where nothing does."""
        explainer = None if self.explainer is None else known[self.explainer]
        self.models = {
            one.name: ServedModel(one, explainer=explainer, options=options, metrics=self.metrics) for one in sources
        }
        self.stopping = False
        """Set by a signal: nothing new is taken."""
        self.active = 0
        """Requests to models that are being answered."""
        self.streams = 0
        """Streams among them."""
        self.held = 0
        """Bytes of their bodies."""

    def load(self) -> None:
        """Open and warm up all models, one after another.

        Raises:
            AlbertineError: one cannot be opened.
        """
        for one in self.models.values():
            one.load()

    def close(self) -> None:
        """End every inference thread once its queue is empty; returns at once."""
        for one in self.models.values():
            if one.current is not None:
                one.current.worker.close()

    @property
    def status(self) -> ServerState:
        """ready, loading, stopping or failed."""
        if self.stopping:
            return "stopping"
        states = {one.state for one in self.models.values()}
        return "failed" if "failed" in states else "loading" if "loading" in states else "ready"

    def model(self, name: str, capability: Capability | None = None) -> ServedModel:
        """Return the model of a name.

        Args:
            name: as the client sent it.
            capability: what is asked of it.

        Raises:
            Problem: there is none, it is not ready, or it does nothing of the kind.
        """
        found = self.models.get(name)
        if found is None:
            close = nearest(name, self.models)
            raise Problem(
                404,
                "unknown_model",
                "there is no such model",
                where="model",
                received=name,
                allowed=", ".join(self.models),
                next_step=None if close is None else f"Did you mean {close!r}?",
            )
        if capability is not None:
            current = self.generation(found)
            if capability not in current.opened.capabilities:
                able = self.able(capability)
                raise Problem(
                    422,
                    "unsupported",
                    f"this model cannot be asked to {capability}",
                    where="model",
                    received=name,
                    allowed=", ".join(current.opened.capabilities),
                    next_step=f"Ask {' or '.join(able)}" if able else None,
                )
        return found

    def able(self, capability: Capability) -> list[str]:
        """Return the names of the models that can be asked for something."""
        loaded = [one for one in self.models.values() if one.current is not None]
        return [one.name for one in loaded if one.current and capability in one.current.opened.capabilities]

    def generation(self, model: ServedModel) -> Generation:
        """Return what answers for a model now.

        Raises:
            Problem: nothing does.
        """
        if model.current is None:
            raise Problem(
                503, "not_ready", "this model is being loaded", received=model.name, retry_after=_LOADING_RETRY
            )
        return model.current

    def admit(self, name: str) -> None:
        """Refuse a request before anything else is done for it, where its model would not take it.

        Args:
            name: of a model that is served.

        Raises:
            Problem: the model has too much to do.
        """
        current = self.models[name].current
        if current is not None:
            try:
                current.worker.check()
            except Overloaded as error:
                raise overloaded(error, name) from None

    def hold(self, record: RequestRecord, size: int) -> None:
        """Count bytes of a body.

        Raises:
            Problem: all bodies together are too large.
        """
        if self.held + size > self.options.max_held:
            raise Problem(
                503,
                "overloaded",
                "the bodies of all requests together are too large",
                allowed=f"{self.options.max_held} bytes",
                next_step="Send it again later",
                retry_after=1,
            )
        self.held += size
        record.held += size

    def release(self, record: RequestRecord) -> None:
        """Count the bytes of a body no more."""
        self.held -= record.held
        record.held = 0

    def check_open(self) -> None:
        """Refuse a request to a model while the server stops, or has too many to answer.

        Raises:
            Problem: it is refused.
        """
        if self.stopping:
            raise Problem(
                503,
                "stopping",
                "the server is being stopped",
                next_step="Send it again, to another server or to this one once it is back",
                retry_after=_STOPPING_RETRY,
            )
        check_room("requests", self.active, self.options.max_requests)

    def _gauges(self) -> dict[str, dict[str, float]]:
        workers = {name: one.current.worker for name, one in self.models.items() if one.current is not None}
        return {
            "queue_requests": {name: worker.waiting_jobs for name, worker in workers.items()},
            "queue_tokens": {name: worker.waiting_tokens for name, worker in workers.items()},
            "queue_seconds": {name: worker.expected_wait() for name, worker in workers.items()},
            "ready": {name: float(one.state == "ready") for name, one in self.models.items()},
        }


def check_room(kind: str, running: int, most: int) -> None:
    """Refuse one more of what the server answers so many of at a time.

    Raises:
        Problem: there is no room.
    """
    if running >= most:
        raise Problem(
            503,
            "overloaded",
            f"too many {kind} are being answered",
            received=str(running),
            allowed=f"{most} at a time",
            next_step="Send it again later",
            retry_after=1,
        )


def overloaded(error: Overloaded, model: str) -> Problem:
    """Return the answer to a request that a model's queue does not take."""
    return Problem(
        503,
        "overloaded",
        "the model has too much to do",
        where=f"model {model}",
        received=error.reason,
        next_step=f"Send it again in {error.retry_after} s",
        retry_after=error.retry_after,
    )
