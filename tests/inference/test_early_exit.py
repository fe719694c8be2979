"""Early exits: the answers of a fixed depth, each text as deep as it needs, and a threshold that keeps its word."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from albertine.errors import ConfigError
from albertine.inference.early_exit import ExitingEngine
from albertine.inference.engine import Engine, EngineSettings
from albertine.inference.exits import calibrate_exits
from albertine.inference.fused import inference_copy
from albertine.inference.model import Model
from albertine.records import Example

TIGHT = EngineSettings(max_tokens=70, max_texts=5)


def examples(count: int = 37) -> list[Example]:
    chance = random.Random(8)
    return [
        Example(
            text=" ".join(
                "".join(chance.choices("abcdefghij", k=chance.randint(1, 4))) for _ in range(chance.randint(1, 9))
            ),
            label=chance.choice(["one", "two", "three"]),
        )
        for _ in range(count)
    ]


def exiting(model: Model, threshold: float, settings: EngineSettings = TIGHT) -> ExitingEngine:
    assert model.tokenizer is not None
    return ExitingEngine(
        inference_copy(model.module, "fp32"),
        model.tokenizer,
        model.task,
        model.task_config,
        threshold=threshold,
        settings=settings,
    )


def at_depth(model: Model, depth: int | None) -> list[np.ndarray]:
    assert model.tokenizer is not None
    engine = Engine(inference_copy(model.module, "fp32", depth=depth), model.tokenizer, model.task, model.task_config)
    return engine.reported_answers(examples())


def middling(model: Model) -> float:
    """Return a certainty that two exits of ten do not have."""
    engine = exiting(model, 0.0)
    trace = engine.trace(engine.encode_items(examples()))
    return float(np.quantile(trace.certainty[:-1], 0.8)) - 1e-4


def test_nobody_leaves_early_above_all_certainty(elastic: Model) -> None:
    answers = exiting(elastic, 1.5).answers(examples())
    assert answers.depths == [5] * 37
    for found, expected in zip(answers.rows, at_depth(elastic, None), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_everybody_leaves_at_the_first_exit_where_any_certainty_is_enough(elastic: Model) -> None:
    answers = exiting(elastic, 0.0).answers(examples())
    assert answers.depths == [1] * 37
    for found, expected in zip(answers.rows, at_depth(elastic, 1), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_an_answer_is_that_of_the_first_exit_that_is_certain_enough(elastic: Model) -> None:
    engine = exiting(elastic, 0.0)
    trace = engine.trace(engine.encode_items(examples()))
    threshold = middling(elastic)
    sure = trace.certainty >= threshold
    sure[-1] = True
    expected = sure.argmax(axis=0) + 1
    answers = exiting(elastic, threshold).answers(examples())
    depths = expected.tolist()
    assert answers.depths == depths
    assert len(set(depths)) > 1, "the texts of this test need different depths"
    for place, (found, depth) in enumerate(zip(answers.rows, depths, strict=True)):
        np.testing.assert_allclose(found, trace.outputs[depth - 1][place], atol=2e-5)
    for depth in (1, 3, 5):
        for found, row in zip(trace.outputs[depth - 1], at_depth(elastic, depth), strict=True):
            np.testing.assert_allclose(found, row, atol=2e-5)


def test_texts_at_different_depths_share_a_batch_where_passes_share_their_weights(
    elastic: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = exiting(elastic, middling(elastic))
    seen: list[list[int]] = []
    one_pass = engine._one_pass

    def watched(inside):  # type: ignore[no-untyped-def]
        seen.append(list(inside.depths))
        return one_pass(inside)

    monkeypatch.setattr(engine, "_one_pass", watched)
    engine.answers(examples())
    mixed = [depths for depths in seen if len(set(depths)) > 1]
    assert bool(mixed) == (elastic.body_kind == "albert")


def test_the_order_and_the_company_of_texts_do_not_matter(elastic: Model) -> None:
    threshold = middling(elastic)
    one, other = exiting(elastic, threshold), exiting(elastic, threshold, EngineSettings())
    forward = one.answers(examples())
    backward = other.answers(examples()[::-1])
    assert forward.depths is not None
    assert forward.depths[::-1] == backward.depths
    for found, expected in zip(forward.rows, backward.rows[::-1], strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_long_texts_are_as_deep_as_their_deepest_window(elastic: Model) -> None:
    long = replace(elastic.task_config, max_length=12)
    model = Model(
        elastic.module, config=elastic.config, tokenizer=elastic.tokenizer, task=elastic.task, task_config=long,
        precision="fp32",
    )  # fmt: skip
    engine = exiting(model, 0.5)
    encoded = engine.encode_items(examples())
    assert len(encoded) > encoded.examples
    answers = engine.answers(examples())
    assert len(answers.rows) == len(answers.depths or ()) == len(answers.tokens) == 37
    assert max(answers.tokens) > 12, "a text's windows together"


@pytest.mark.parametrize("allowed", [0.0, 0.1, 0.3])
def test_the_fitted_threshold_loses_no_more_than_is_allowed(elastic: Model, allowed: float) -> None:
    curve = calibrate_exits(elastic, examples(), allowed_loss=allowed)
    config = elastic.task_config
    answers = exiting(elastic, curve.threshold).answers(examples())
    value = elastic.task.score(answers.rows, examples(), config)["accuracy"]
    assert value == pytest.approx(curve.value)
    assert value >= curve.by_depth[-1] - allowed - 1e-9
    assert np.mean(answers.depths or ()) == pytest.approx(curve.mean_depth)
    assert curve.by_depth[0] == elastic.task.score(at_depth(elastic, 1), examples(), config)["accuracy"]


def test_more_loss_buys_fewer_passes(elastic: Model) -> None:
    depths = [calibrate_exits(elastic, examples(), allowed_loss=allowed).mean_depth for allowed in (0.0, 0.2, 1.0)]
    assert depths == sorted(depths, reverse=True)
    assert depths[-1] < 1.5


def reopened(model: Model, depth: object, **changes: object) -> Model:
    return Model(
        model.learnt,
        config=model.config,
        tokenizer=model.tokenizer,
        task=model.task,
        task_config=replace(model.task_config, **changes),
        precision="fp32",
        depth=depth,  # type: ignore[arg-type]
    )


def test_predictions_say_how_deep_they_are(elastic: Model) -> None:
    texts = [one.text for one in examples()]
    assert {one.depth for one in reopened(elastic, 2).predict(texts)} == {2}
    assert {one.depth for one in elastic.predict(texts)} == {None}
    threshold = middling(elastic)
    auto = reopened(elastic, "auto", exit_at=threshold).predict(texts)
    assert len({one.depth for one in auto}) > 1
    assert reopened(elastic, "auto", exit_at=threshold).predict(texts[:1])[0].depth == auto[0].depth


def test_depths_that_there_are_not_are_refused(elastic: Model) -> None:
    with pytest.raises(ConfigError, match="no such depth"):
        reopened(elastic, 6)
    with pytest.raises(ConfigError, match="full depth alone"):
        reopened(elastic, 2, elastic=False)
    with pytest.raises(ConfigError, match="has not been fitted"):
        reopened(elastic, "auto", exit_at=None)
