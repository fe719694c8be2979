"""Products in int8: near the unrounded ones, one copy of shared weights, kept with the model, never at any price."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import albertine.inference.int8 as int8
from albertine.checkpoints.native import PLAN_FILE
from albertine.errors import CheckpointError, ConfigError
from albertine.inference.fused import FusedEncoder
from albertine.inference.int8 import fit_int8, model_plan
from albertine.inference.int8_plan import Int8Plan
from albertine.inference.kernels import Int8Linear, Int8Range, Int8Weight, int8_is_supported
from albertine.inference.loading import load
from albertine.inference.model import Model
from albertine.inference.products import PRODUCTS
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.records import Example

pytestmark = pytest.mark.skipif(not int8_is_supported(), reason="this build of PyTorch has no integer products")


def examples(count: int = 61) -> list[Example]:
    chance = random.Random(2)
    return [
        Example(
            text=" ".join("".join(chance.choices("abcdefghij", k=3)) for _ in range(chance.randint(1, 9))),
            label=chance.choice(["one", "two", "three"]),
        )
        for _ in range(count)
    ]


def rounded(model: Model, plan: Int8Plan) -> Model:
    return Model(
        model.learnt, config=model.config, tokenizer=model.tokenizer, task=model.task,
        task_config=model.task_config, precision="int8", plan=plan,
    )  # fmt: skip


@pytest.mark.parametrize("activation", ["none", "gelu", "gelu_tanh", "relu"])
def test_a_product_is_as_near_as_its_steps_are_wide(activation: str) -> None:
    torch.manual_seed(3)
    inputs, weight, bias = torch.randn(19, 24), torch.randn(37, 24), torch.randn(37)
    inputs[:, 5] *= 40  # a channel that stands out
    channels = inputs.abs().amax(dim=0)
    entering = Int8Range(channels=channels, size=2 / 255, zero=128)
    layer = Int8Linear(Int8Weight.of(weight, bias, channels), entering, torch.float32, activation)  # type: ignore[arg-type]
    exact = torch.nn.functional.linear(inputs, weight, bias)
    after = {
        "none": lambda one: one,
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda one: torch.nn.functional.gelu(one, approximate="tanh"),
        "relu": torch.relu,
    }[activation]
    assert float((layer(inputs) - after(exact)).norm() / after(exact).norm()) < 0.02
    if activation == "none":
        residual = torch.randn(19, 37)
        torch.testing.assert_close(layer.added(inputs, residual), layer(inputs) + residual, atol=1e-4, rtol=1e-4)


def test_outputs_can_leave_as_whole_numbers_for_the_next_product() -> None:
    torch.manual_seed(3)
    inputs, first, second = torch.rand(9, 16), torch.randn(28, 16), torch.randn(5, 28)
    one = torch.ones(1)
    between = Int8Range(channels=one, size=16 / 255, zero=7)
    entering = Int8Range(channels=one, size=1 / 255, zero=0)
    inner = Int8Linear(Int8Weight.of(first, torch.zeros(28), one), entering, torch.float32, "gelu", between)
    outer = Int8Linear(Int8Weight.of(second, torch.zeros(5), one), between, torch.float32)
    whole = inner(inputs)
    assert whole.dtype == torch.uint8
    exact = torch.nn.functional.gelu(inputs @ first.T) @ second.T
    assert float((outer(whole) - exact).norm() / exact.norm()) < 0.03


def test_a_calibrated_model_answers_nearly_the_same(elastic: Model) -> None:
    plan, errors = model_plan(elastic, examples())
    assert set(plan.ranges) == {(index, product) for index in range(5) for product in PRODUCTS}
    assert all(0 < error < 0.05 for error in errors.values())
    found = rounded(elastic, plan).scores([one.text for one in examples()])
    exact = elastic.scores([one.text for one in examples()])
    assert np.abs(found - exact).mean() < 0.03
    assert not np.allclose(found, exact, atol=1e-6), "nothing was rounded"


def test_passes_that_share_a_block_share_its_rounded_weights(elastic: Model) -> None:
    plan, _ = model_plan(elastic, examples())
    body = elastic.module.body
    assert isinstance(body, Encoder)
    fused = FusedEncoder(body, "fp32", plan)
    copies = {id(one.inner.weight.packed) for one in fused._fused}  # type: ignore[attr-defined]
    assert len(copies) == elastic.config.num_feed_forward_blocks  # type: ignore[union-attr]


def test_products_that_are_left_out_stay_in_floating_point(elastic: Model) -> None:
    plan, _ = model_plan(elastic, examples())
    body = elastic.module.body
    assert isinstance(body, Encoder)
    fused = FusedEncoder(body, "fp32", plan.without((1, "inner"), (3, "outer")))
    assert [isinstance(one.inner, Int8Linear) for one in fused._fused] == [True, False, True, True, True]
    assert [isinstance(one.outer, Int8Linear) for one in fused._fused] == [True, True, True, False, True]
    ids, starts = torch.arange(6, 21), torch.tensor([0, 4, 15])
    with torch.inference_mode():
        found = fused(ids, sequence_starts=starts).last_hidden_state
        exact = body.eval()(ids, sequence_starts=starts).last_hidden_state
    assert float((found - exact).norm() / exact.norm()) < 0.1


def test_the_plan_is_kept_with_the_model(elastic: Model, tmp_path: Path) -> None:
    plan, _ = model_plan(elastic, examples())
    model = rounded(elastic, plan.without((0, "output")).with_facts({"changed": 0.25}))
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.rounds
    assert again.plan is not None
    assert again.plan.facts == {"changed": 0.25}
    assert (0, "output") not in again.plan.ranges
    texts = [one.text for one in examples()]
    np.testing.assert_array_equal(again.scores(texts), load(tmp_path / "model", precision="int8").scores(texts))
    plain = load(tmp_path / "model", precision="fp32")
    assert not plain.rounds
    np.testing.assert_allclose(plain.scores(texts), elastic.scores(texts), atol=1e-5)

    elastic.save(tmp_path / "model")
    assert not (tmp_path / "model" / PLAN_FILE).exists()


def test_a_plan_of_another_model_or_a_damaged_one_is_refused(elastic: Model, tmp_path: Path) -> None:
    plan, _ = model_plan(elastic, examples())
    rounded(elastic, plan).save(tmp_path / "model")
    path = tmp_path / "model" / PLAN_FILE
    whole = path.read_bytes()
    assert isinstance(elastic.config, EncoderConfig)
    with pytest.raises(CheckpointError, match="not the int8 plan of this model"):
        Int8Plan.read(path, replace(elastic.config, hidden_size=48))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="not the int8 plan of this model"):
        load(tmp_path / "model")


def test_int8_without_a_plan_says_how_to_make_one(elastic: Model) -> None:
    with pytest.raises(ConfigError, match="albertine compress"):
        Model(
            elastic.learnt, config=elastic.config, tokenizer=elastic.tokenizer, task=elastic.task,
            task_config=elastic.task_config, precision="int8",
        )  # fmt: skip


def fitted(elastic: Model, monkeypatch: pytest.MonkeyPatch, *, speed: float, allowed: float) -> int8.Int8Result:
    """Fit on examples whose labels are the model's own answers."""
    monkeypatch.setattr(int8, "speed_ratio", lambda *_: speed)
    labels = [one.label for one in elastic.predict([one.text for one in examples()])]
    told = [replace(one, label=label) for one, label in zip(examples(), labels, strict=True)]
    return fit_int8(elastic, examples(), told, allowed_loss=allowed)


def test_int8_is_taken_where_it_is_good_and_fast(elastic: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    result = fitted(elastic, monkeypatch, speed=1.9, allowed=0.2)
    assert result.plan is not None
    assert result.unrounded == 1.0
    assert result.rounded == pytest.approx(1 - result.changed)
    assert result.left_out == ()
    assert result.plan.facts["speed"] == 1.9


def test_int8_that_is_not_faster_is_not_taken(elastic: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fitted(elastic, monkeypatch, speed=1.05, allowed=0.2).plan is None


def test_products_go_back_to_floating_point_until_the_loss_is_allowed(
    elastic: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated = int8.model_plan
    bad = {*((index, "inner") for index in range(5)), (4, "projected")}

    def spoilt(model: Model, texts: list[Example]) -> tuple[Int8Plan, dict[object, float]]:
        """Let the ranges of some products be far too narrow."""
        plan, errors = calibrated(model, texts)
        ranges = {key: replace(one, size=one.size / 1e5) if key in bad else one for key, one in plan.ranges.items()}
        return Int8Plan(ranges=ranges, facts={}), {key: 9.0 if key in bad else one for key, one in errors.items()}

    monkeypatch.setattr(int8, "model_plan", spoilt)
    result = fitted(elastic, monkeypatch, speed=1.9, allowed=0.1)
    assert bad <= set(result.left_out)
    assert len(result.left_out) < 20
    assert result.plan is not None
    assert result.unrounded - result.rounded <= 0.1
