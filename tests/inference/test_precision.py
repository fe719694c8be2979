"""Precision by measurement."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from albertine.errors import ConfigError
from albertine.inference import precision
from albertine.inference.precision import autocast, choose_precision, reduced


@pytest.fixture(autouse=True)
def _measured_anew() -> Iterator[None]:
    precision._measured.cache_clear()
    yield
    precision._measured.cache_clear()


@pytest.mark.parametrize(("bf16_seconds", "expected"), [(0.5, "bf16"), (0.76, "bf16"), (0.78, "fp32"), (3.0, "fp32")])
def test_bf16_is_chosen_only_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, bf16_seconds: float, expected: str
) -> None:
    monkeypatch.setattr(precision, "_seconds", lambda dtype: bf16_seconds if dtype is torch.bfloat16 else 1.0)
    assert choose_precision("cpu") == expected


def test_the_measurement_is_taken_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[torch.dtype] = []
    monkeypatch.setattr(precision, "_seconds", lambda dtype: float(len(measured.append(dtype) or measured)))
    choices = {choose_precision("cpu") for _ in range(7)}
    assert len(measured) == 2
    assert choices == {"fp32"}


def test_a_real_measurement_gives_one_of_the_two() -> None:
    assert choose_precision("cpu") in ("fp32", "bf16")


def test_the_best_of_several_times_counts_and_the_first_is_left_out() -> None:
    ticks = iter([0.0, 0.1, 1.0, 9.0, 10.0, 15.0, 20.0, 23.0, 30.0, 34.0, 40.0, 49.0])
    assert precision._seconds(torch.float32, lambda: next(ticks)) == 3.0


def test_what_was_asked_for_is_taken_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_seconds", None)
    assert choose_precision("cpu", "fp32") == "fp32"
    assert choose_precision("cpu", "bf16") == "bf16"
    with pytest.raises(ConfigError, match="auto, fp32, bf16"):
        choose_precision("cpu", "fp16")


def test_autocast_changes_products_and_nothing_outside_its_block() -> None:
    one = torch.randn(7, 13)
    with autocast("bf16"):
        assert (one @ one.T).dtype == torch.bfloat16
    with autocast("fp32"):
        assert (one @ one.T).dtype == torch.float32
    assert (one @ one.T).dtype == torch.float32


def test_reduced_weights_compute_the_same_and_leave_the_module_alone() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(99, 13), nn.LayerNorm(13), nn.Linear(13, 7), nn.Tanh(), nn.Linear(7, 3))
    copied = reduced(module, "bf16")
    ids = torch.randint(0, 99, (5,))
    with torch.inference_mode(), autocast("bf16"):
        torch.testing.assert_close(copied(ids), module(ids), atol=0, rtol=0)
    assert {one.dtype for one in module.parameters()} == {torch.float32}
    assert [one.dtype for one in copied[2].parameters()] == [torch.bfloat16] * 2
    assert copied[0].weight is module[0].weight
    assert copied[1].weight is module[1].weight
