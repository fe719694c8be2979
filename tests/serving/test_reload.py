"""A model replaced while it is asked: nobody is refused, nobody gets half of each, a bad folder changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from albertine.inference.loading import load
from albertine.serving.keys import Keys
from albertine.serving.service import Service

Serving = Callable[..., Service]
PREDICT = "/v1/models/reviews/predict"
RELOAD = "/v1/models/reviews/reload"
KEYS = Keys(admin=(hashlib.sha256(b"a" * 20).digest(),))
ADMIN = {"x-api-key": "a" * 20}
TEXT = "the soup was hot"


@pytest.fixture
def moving(folders: dict[str, Path], tmp_path: Path, serving: Serving) -> Any:
    """A server over a folder that can be replaced by another model's."""
    folder = tmp_path / "reviews"
    shutil.copytree(folders["reviews"], folder)
    before, folders["reviews"] = folders["reviews"], folder
    try:
        service = serving("reviews", keys=KEYS)
    finally:
        folders["reviews"] = before
    return service, folder


def replaced(folder: Path, other: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def run(scenario: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_the_new_model_answers_after_a_reload(moving: Any, calling: Any, folders: dict[str, Path]) -> None:
    service, folder = moving

    async def scenario() -> None:
        caller = calling(service)
        before = (await caller(PREDICT, {"inputs": TEXT})).json()
        replaced(folder, folders["intents"])
        reply = await caller(RELOAD, headers=ADMIN)
        assert reply.status == 200, reply.body
        assert reply.json()["generation"] == 2
        assert reply.json()["seconds"] > 0
        after = (await caller(PREDICT, {"inputs": TEXT})).json()
        (wanted,) = load(folders["intents"], precision="fp32").predict([TEXT])
        assert (before["task"], after["task"]) == ("text-classification", "intent-slots")
        assert after["predictions"][0]["label"] == wanted.label
        detail = (await caller("/v1/models/reviews", method="GET")).json()
        assert (detail["generation"], detail["task"], detail["card"]) == (2, "intent-slots", "# intents\n")

    run(scenario)
    assert 'albertine_reloads_total{model="reviews",outcome="done"} 1.0' in service.metrics.text().decode()


def test_a_folder_that_cannot_be_opened_changes_nothing(moving: Any, calling: Any) -> None:
    service, folder = moving

    async def scenario() -> None:
        caller = calling(service)
        before = (await caller(PREDICT, {"inputs": TEXT})).json()
        (folder / "model.safetensors").write_bytes(b"damaged")
        reply = await caller(RELOAD, headers=ADMIN)
        error = reply.json()["error"]
        assert (reply.status, error["type"]) == (409, "reload_failed")
        assert "goes on as it was" in error["what"]
        assert "model.safetensors" in error["message"]
        assert (await caller(PREDICT, {"inputs": TEXT})).json() == before
        assert (await caller("/ready", method="GET")).status == 200
        assert (await caller("/v1/models/reviews", method="GET")).json()["generation"] == 1

    run(scenario)
    assert 'albertine_reloads_total{model="reviews",outcome="failed"} 1.0' in service.metrics.text().decode()


def test_those_who_wait_are_answered_by_the_model_they_came_for(
    moving: Any, calling: Any, hold: Any, folders: dict[str, Path]
) -> None:
    service, folder = moving
    held = hold(service, "reviews")
    old = service.models["reviews"].current

    async def scenario() -> None:
        caller = calling(service)
        waiting = [asyncio.ensure_future(caller(PREDICT, {"inputs": TEXT})) for _ in range(4)]
        assert await asyncio.to_thread(held.entered.wait, 20)
        replaced(folder, folders["intents"])
        assert (await caller(RELOAD, headers=ADMIN)).status == 200
        # The old model still holds its four, the new one answers at once.
        assert (await caller(PREDICT, {"inputs": TEXT})).json()["task"] == "intent-slots"
        assert not any(one.done() for one in waiting)
        held.go.set()
        replies = [await one for one in waiting]
        assert {reply.status for reply in replies} == {200}
        assert {reply.json()["task"] for reply in replies} == {"text-classification"}
        await asyncio.to_thread(old.worker.join, 20)
        assert not old.worker.alive

    run(scenario)


def test_no_request_is_lost_while_models_are_replaced(moving: Any, calling: Any, folders: dict[str, Path]) -> None:
    service, folder = moving
    direct = {name: load(folders[name], precision="fp32").predict([TEXT])[0].label for name in ("reviews", "intents")}

    async def scenario() -> None:
        caller = calling(service)
        over = asyncio.Event()
        seen: list[Any] = []

        async def ask() -> None:
            while not over.is_set():
                seen.append(await caller(PREDICT, {"inputs": [TEXT, TEXT]}))

        asking = [asyncio.ensure_future(ask()) for _ in range(6)]
        for name in ("intents", "reviews", "intents"):
            replaced(folder, folders[name])
            count = len(seen)
            assert (await caller(RELOAD, headers=ADMIN)).status == 200
            assert len(seen) > count  # asked and answered meanwhile
        over.set()
        await asyncio.gather(*asking)
        assert {reply.status for reply in seen} == {200}
        found = {(reply.json()["task"], tuple(one["label"] for one in reply.json()["predictions"])) for reply in seen}
        assert found == {
            ("text-classification", (direct["reviews"],) * 2),
            ("intent-slots", (direct["intents"],) * 2),
        }

    run(scenario)


def test_a_model_is_reloaded_once_at_a_time(moving: Any, calling: Any) -> None:
    service, _ = moving

    async def scenario() -> None:
        caller = calling(service)
        replies = await asyncio.gather(*(caller(RELOAD, headers=ADMIN) for _ in range(3)))
        assert sorted(reply.status for reply in replies) == [200, 409, 409]
        assert (await caller("/v1/models/reviews", method="GET")).json()["generation"] == 2

    run(scenario)
