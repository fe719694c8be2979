from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from albertine.batching.packing import packed, padded
from albertine.batching.pretraining_batch import ExampleCounts, PretrainingBatch
from albertine.errors import ConfigError
from albertine.inference.precision import Precision
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.records import Encoded
from albertine.tasks.pretraining import (
    MASKED_WORDS,
    PAIR,
    PretrainingMetrics,
    held_out_metrics,
    part_weights,
    pretraining_loss,
)
from albertine.training.config import TrainingConfig
from albertine.training.held_out import HeldOut, measure_held_out
from albertine.training.hidden_rank import HiddenStateRank, hidden_state_rank, state_rank
from albertine.training.log import LogPoint
from albertine.training.loop import TrainingResult, fit
from albertine.training.verdicts import Verdict
from albertine.training.watchdog import Watchdog, unigram_entropy
from albertine.training.watchdog_limits import WatchdogLimits

VOCABULARY = 21_128
NOTHING = math.log(VOCABULARY)
UNIGRAM = 6.8
CHANCE = math.log(2)
STEPS = 40_000

Curve = Callable[[float], float]


def points(
    words: Curve,
    *,
    pair: Curve | None = None,
    norm: Curve = lambda _: 1.0,
    count: int = 100,
    noise: float = 0.02,
    seed: int = 0,
) -> list[LogPoint]:
    """Return a run's curve; every function is given the share of the run that is over."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(1, count + 1):
        share = number / count
        parts = {MASKED_WORDS: words(share) + noise * float(generator.standard_normal())}
        if pair is not None:
            parts[PAIR] = abs(pair(share) + noise / 4 * float(generator.standard_normal()))
        made.append(
            LogPoint(
                step=round(share * STEPS),
                examples=round(share * STEPS) * 32,
                tokens=round(share * STEPS) * 4096,
                seconds=share * 3600,
                loss=sum(parts.values()),
                learning_rate=1e-3,
                parts=parts,
                gradient_norm=norm(share) * math.exp(0.3 * float(generator.standard_normal())),
            )
        )
    return made


def watchdog(**changes: float) -> Watchdog:
    return Watchdog(
        vocab_size=VOCABULARY,
        progress=lambda point: point.step / STEPS,
        unigram_entropy=UNIGRAM,
        limits=dataclasses.replace(WatchdogLimits(), **changes),  # type: ignore[arg-type]
    )


def verdicts(watch: Watchdog, curve: Iterable[LogPoint]) -> list[tuple[float, Verdict]]:
    """Return what is said, with the share of the run after which it is."""
    return [(point.step / STEPS, verdict) for point in curve if (verdict := watch(point)) is not None]


def healthy(share: float) -> float:
    """From ln V over a wait at the unigram entropy to a slow decline."""
    if share < 0.02:
        return NOTHING + (UNIGRAM - NOTHING) * share / 0.02
    return UNIGRAM if share < 0.1 else 2.0 + (UNIGRAM - 2.0) * (0.1 / share) ** 0.8


def learnt_order(share: float) -> float:
    return CHANCE - 0.4 / (1 + math.exp(-40 * (share - 0.25)))


HEALTHY: dict[str, dict[str, Curve]] = {
    "as usual": {"words": healthy, "pair": learnt_order},
    "masked words alone": {"words": healthy},
    "at once": {
        "words": lambda share: 2.0 + 5 * math.exp(-20 * share),
        "pair": lambda share: 0.3 * math.exp(-5 * share),
    },
    "late": {"words": lambda share: healthy(max(0.01, share - 0.08)), "pair": learnt_order},
    "slow but falling": {"words": lambda share: 8.0 - 1.5 * share},
    "continued": {"words": lambda share: 1.9 - 0.2 * share, "pair": lambda share: 0.12 - 0.02 * share},
    "longer texts at the end": {"words": lambda share: healthy(share) + (0.08 if share > 0.9 else 0.0)},
    "fewer masks with time": {"words": lambda share: healthy(share) - 0.4 * share},
    "small gradients at the end": {"words": healthy, "norm": lambda share: 2.0 * math.exp(-4 * share)},
    "order understood": {"words": healthy, "pair": lambda share: CHANCE if share < 0.2 else 0.03},
    "an easy toy": {"words": lambda share: 9.0 * math.exp(-12 * share), "norm": lambda share: math.exp(-10 * share)},
}


# a point of a hundred is the mean of many steps; one of a thousand may be of a few small batches
@pytest.mark.parametrize(("count", "noise"), [(100, 0.0), (100, 0.02), (100, 0.06), (1_000, 0.02), (1_000, 0.2)])
@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_healthy_curves_are_left_alone(name: str, count: int, noise: float) -> None:
    for seed in range(2):
        assert verdicts(watchdog(), points(**HEALTHY[name], count=count, noise=noise, seed=seed)) == []


def test_single_points_far_out_are_left_alone() -> None:
    curve = points(healthy, count=400)
    spiked = [
        dataclasses.replace(point, loss=point.loss + 3, parts={MASKED_WORDS: point.parts[MASKED_WORDS] + 3})
        if number % 37 == 36
        else point
        for number, point in enumerate(curve)
    ]
    assert verdicts(watchdog(), spiked) == []


def test_heavy_tails_are_left_alone() -> None:
    generator = np.random.default_rng(5)
    curve = [
        dataclasses.replace(point, parts={MASKED_WORDS: point.parts[MASKED_WORDS] + 0.05 * float(tail)})
        for point, tail in zip(points(healthy, count=2_000), generator.standard_t(3, 2_000), strict=True)
    ]
    assert verdicts(watchdog(), curve) == []


def only(found: Sequence[tuple[float, Verdict]], action: str) -> tuple[float, Verdict]:
    assert [verdict.action for _, verdict in found] == [action]
    return found[0]


@pytest.mark.parametrize("where", ["loss", "parts", "gradient_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_send_the_run_back(where: str, value: float) -> None:
    watch = watchdog()
    curve = points(healthy, count=20)
    assert verdicts(watch, curve[:10]) == []
    change = {where: {MASKED_WORDS: value} if where == "parts" else value}
    verdict = watch(dataclasses.replace(curve[10], **change))  # type: ignore[arg-type]
    assert verdict is not None
    assert verdict.action == "roll_back"
    assert "not finite" in verdict.reason
    assert "learning rate" in verdict.reason
    assert verdicts(watch, curve[5:]) == []


def test_a_loss_that_stays_at_ln_v_is_said_then_lowered_then_stopped() -> None:
    found = verdicts(watchdog(), points(lambda _: NOTHING))
    assert [verdict.action for _, verdict in found][:3] == ["continue", "lower", "stop"]
    assert [share for share, _ in found][:3] == pytest.approx([0.25, 0.4, 0.6], abs=0.02)
    assert all("ln V" in verdict.reason for _, verdict in found)


def test_a_loss_that_stays_at_the_unigram_entropy_is_named_as_such() -> None:
    found = verdicts(watchdog(), points(lambda share: max(UNIGRAM, NOTHING - 40 * share)))
    assert [verdict.action for _, verdict in found][:3] == ["continue", "lower", "stop"]
    assert all("unigram entropy 6.80" in verdict.reason for _, verdict in found)
    assert all("nothing of the context" in verdict.reason for _, verdict in found)


def test_without_the_entropy_of_the_corpus_only_ln_v_is_known() -> None:
    watch = Watchdog(vocab_size=VOCABULARY, progress=lambda point: point.step / STEPS)
    assert verdicts(watch, points(lambda _: UNIGRAM)) == []
    watch = Watchdog(vocab_size=VOCABULARY, progress=lambda point: point.step / STEPS)
    assert verdicts(watch, points(lambda _: NOTHING))[0][1].action == "continue"


def test_a_lower_rate_that_helps_is_not_followed_by_a_stop() -> None:
    found = verdicts(watchdog(), points(lambda share: UNIGRAM if share < 0.45 else UNIGRAM * (0.45 / share) ** 0.6))
    assert [verdict.action for _, verdict in found] == ["continue", "lower"]


def test_a_jump_that_stays_sends_the_run_back() -> None:
    share, verdict = only(
        verdicts(watchdog(), points(lambda share: healthy(share) + (3.0 if 0.5 < share < 0.53 else 0.0))), "roll_back"
    )
    assert share == pytest.approx(0.52)
    assert "jumped from" in verdict.reason


def longer_rows(share: float) -> float:
    """Rows four times as long in the last tenth, three positions of four never seen before: what a real run showed."""
    return healthy(share) + (0.8 - 4 * (share - 0.9) if share > 0.9 else 0.0)


@pytest.mark.parametrize("count", [100, 400])
def test_longer_rows_are_not_held_against_shorter_ones(count: int) -> None:
    curve = points(longer_rows, count=count)
    assert [verdict.action for _, verdict in verdicts(watchdog(), curve)][:1] == ["roll_back"]
    told = Watchdog(
        vocab_size=VOCABULARY,
        progress=lambda point: point.step / STEPS,
        phase=lambda point: int(point.step > 0.9 * STEPS),
        unigram_entropy=UNIGRAM,
    )
    assert verdicts(told, curve) == []
    broken = [dataclasses.replace(point, parts={MASKED_WORDS: point.parts[MASKED_WORDS] + 3.0}) for point in curve[-3:]]
    found = [told(point) for point in broken]
    assert [one.action for one in found if one is not None][:1] == (["roll_back"] if count == 400 else [])


def test_after_going_back_the_same_steps_are_judged_anew() -> None:
    watch = watchdog()
    curve = points(healthy)
    broken = [
        dataclasses.replace(point, parts={MASKED_WORDS: point.parts[MASKED_WORDS] + 3.0}) for point in curve[50:55]
    ]
    assert verdicts(watch, curve[:50]) == []
    assert only(verdicts(watch, broken[:2]), "roll_back")
    assert verdicts(watch, curve[45:]) == []


def test_a_loss_above_ln_v_is_a_run_that_diverged() -> None:
    found = verdicts(watchdog(), points(lambda share: NOTHING + 60 * share, count=1_000)[:40])
    assert found[0][1].action == "roll_back"
    assert "worse than knowing nothing" in found[0][1].reason


def test_a_high_first_loss_that_falls_is_left_alone() -> None:
    assert verdicts(watchdog(), points(lambda share: 3.0 + 20 * math.exp(-30 * share), count=1_000)) == []


def test_gradients_of_zero_stop_the_run() -> None:
    found = verdicts(watchdog(), points(lambda _: 7.5, norm=lambda share: 1.0 if share < 0.1 else 0.0))
    assert found[0][1].action == "stop"
    assert "vanished" in found[0][1].reason
    assert found[0][0] == pytest.approx(0.12)


def test_gradients_a_thousandth_of_what_they_were_stop_a_run_that_has_learnt_nothing() -> None:
    found = verdicts(watchdog(), points(lambda _: UNIGRAM, norm=lambda share: 1.0 if share < 0.17 else 1e-4))
    assert found[0][1].action == "stop"
    assert "vanished" in found[0][1].reason


def collapsed(value: float = 1.0) -> HiddenStateRank:
    return HiddenStateRank(effective_rank=value, mean_cosine=0.9999, width=312, tokens=999)


FINE = HiddenStateRank(effective_rank=80.0, mean_cosine=0.6, width=312, tokens=999)


def test_a_collapse_of_states_that_were_different_sends_the_run_back() -> None:
    watch, curve = watchdog(), points(healthy)
    watch.measured(400, rank=FINE)
    assert verdicts(watch, curve[:40]) == []
    watch.measured(16_000, rank=collapsed())
    _, verdict = only(verdicts(watch, curve[40:60]), "roll_back")
    assert "effective rank 1.0 of 312" in verdict.reason
    assert "learning rate is too high" in verdict.reason


def test_states_that_were_the_same_from_the_beginning_are_only_spoken_of() -> None:
    watch, curve = watchdog(), points(healthy)
    watch.measured(400, rank=collapsed())
    assert "since the first look" in only(verdicts(watch, curve[:20]), "continue")[1].reason
    watch.measured(8_000, rank=collapsed())
    assert verdicts(watch, curve[20:40]) == []


def test_states_that_share_large_dimensions_are_left_alone() -> None:
    watch, curve = watchdog(), points(healthy)
    watch.measured(400, rank=FINE)
    watch.measured(800, rank=HiddenStateRank(effective_rank=20.0, mean_cosine=0.9995, width=312, tokens=999))
    watch.measured(900, rank=HiddenStateRank(effective_rank=1.2, mean_cosine=0.4, width=312, tokens=999))
    assert verdicts(watch, curve) == []


def test_a_loss_that_rises_for_long_lowers_the_rate_and_then_stops() -> None:
    found = verdicts(watchdog(), points(lambda share: 3.0 + (2.0 - 4 * share if share < 0.3 else share)))
    assert [verdict.action for _, verdict in found][:2] == ["lower", "stop"]
    assert "has risen since" in found[0][1].reason
    assert 0.4 < found[0][0] < 0.6


def test_pairs_judged_by_chance_are_spoken_of_once() -> None:
    share, verdict = only(verdicts(watchdog(), points(healthy, pair=lambda _: CHANCE)), "continue")
    assert share == pytest.approx(0.35, abs=0.02)
    assert "by chance" in verdict.reason
    assert "tokens" in verdict.reason


def test_held_out_pairs_that_are_judged_right_overrule_the_training_loss() -> None:
    watch = watchdog()
    watch.measured(400, metrics=PretrainingMetrics(pair_accuracy=0.6, pairs=2_000, tokens=1))
    assert verdicts(watch, points(healthy, pair=lambda _: CHANCE)) == []
    watch = watchdog()
    watch.measured(400, metrics=PretrainingMetrics(pair_accuracy=0.51, pairs=2_000, tokens=1))
    assert only(verdicts(watch, points(healthy, pair=lambda _: CHANCE)), "continue")


def test_pairs_that_are_too_easy_are_spoken_of() -> None:
    curve = points(healthy, pair=lambda _: 0.001, count=1_000)
    share, verdict = only(verdicts(watchdog(), curve), "continue")
    assert share < 0.05
    assert "labels are all the same" in verdict.reason
    watch = watchdog()
    watch.measured(12_000, metrics=PretrainingMetrics(pair_accuracy=0.5, pairs=400, tokens=1))
    found = verdicts(watch, points(lambda _: 2.0, pair=lambda _: 0.001))
    assert "held-out pairs are judged by chance" in only(found, "continue")[1].reason


def test_replaced_tokens_that_are_not_found_are_spoken_of() -> None:
    watch = watchdog()
    watch.measured(400, metrics=PretrainingMetrics(replaced_auc=0.51, tokens=1))
    assert "told from" in only(verdicts(watch, points(healthy)), "continue")[1].reason
    watch = watchdog()
    watch.measured(400, metrics=PretrainingMetrics(replaced_auc=0.9, tokens=1))
    assert verdicts(watch, points(healthy)) == []


def test_a_run_without_parts_is_judged_by_its_loss() -> None:
    curve = [dataclasses.replace(point, parts={}, gradient_norm=None) for point in points(lambda _: NOTHING)]
    assert verdicts(watchdog(), curve)[0][1].action == "continue"


def test_the_unigram_entropy_is_that_of_the_counts() -> None:
    assert unigram_entropy(np.array([5, 5, 0, 5, 5])) == pytest.approx(math.log(4))
    assert unigram_entropy(np.array([7])) == 0.0
    with pytest.raises(ConfigError, match="no tokens"):
        unigram_entropy(np.zeros(3, dtype=np.int64))
    with pytest.raises(ConfigError, match="entropy"):
        Watchdog(vocab_size=10, progress=lambda _: 0.0, unigram_entropy=3.0)


def test_the_rank_of_states_counts_their_directions() -> None:
    same = state_rank(torch.ones(7, 5))
    assert (same.effective_rank, same.mean_cosine, same.width, same.tokens) == pytest.approx((1.0, 1.0, 5, 7))
    apart = state_rank(torch.eye(6).repeat(2, 1))
    assert apart.effective_rank == pytest.approx(6.0)
    assert apart.mean_cosine == pytest.approx(12 / (12 * 11))
    assert state_rank(torch.eye(4)).mean_cosine == pytest.approx(0.0, abs=1e-9)
    wide = state_rank(torch.eye(9)[:4])
    assert wide.effective_rank == pytest.approx(4.0)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert state_rank(opposite).mean_cosine == pytest.approx(-1.0)


# ---- real runs ----

CLS, SEP, MASK, FIRST, THEMES = 2, 3, 4, 5, 9
SMALL = FIRST + 2 * THEMES


def made(step: int, *, label: int | None = None, texts: int = 16) -> PretrainingBatch:
    """Texts that say one word and then its follower, or the reverse; `label` gives every pair the same order."""
    generator = np.random.default_rng([31, step])
    rows, labels = [], []
    for _ in range(texts):
        theme = FIRST + int(generator.integers(THEMES))
        cut, rest = (int(number) for number in generator.integers(2, 8, 2))
        labels.append(int(generator.integers(2)) if label is None else label)
        order = [(theme, cut), (theme + THEMES, rest)]
        (first, many), (second, more) = order[::-1] if labels[-1] else order
        ids = np.array([CLS, *[first] * many, SEP, *[second] * more, SEP], dtype=np.int32)
        types = np.array([0] * (many + 2) + [1] * (more + 1), dtype=np.uint8)
        rows.append(Encoded(input_ids=ids, token_type_ids=types))
    whole = packed(rows)
    hidden = (whole.input_ids >= FIRST).numpy() & (generator.random(whole.token_count) < 0.2)
    places = torch.from_numpy(np.flatnonzero(hidden))
    return PretrainingBatch(
        batch=dataclasses.replace(whole, input_ids=whole.input_ids.index_fill(0, places, MASK)),
        positions=places,
        targets=whole.input_ids[places],
        pair_labels=torch.tensor(labels),
        counts=ExampleCounts(texts=texts),
    )


def model(layers: int = 2) -> PretrainingModel:
    torch.manual_seed(18)
    return PretrainingModel(
        EncoderConfig.preset(
            "albert-base",
            vocab_size=SMALL,
            hidden_size=36,
            embedding_size=13,
            num_hidden_layers=layers,
            num_attention_heads=3,
            intermediate_size=55,
            max_position_embeddings=24,
            initializer_range=0.15,
        )
    )


def run(
    module: PretrainingModel,
    rate: Callable[[int], float],
    *,
    steps: int,
    label: int | None = None,
    frozen_after: int | None = None,
) -> list[tuple[int, Verdict]]:
    """Train, with a point every third step and an evaluation every thirtieth; return what the watchdog says."""
    watch = Watchdog(
        vocab_size=SMALL,
        progress=lambda point: point.step / steps,
        unigram_entropy=math.log(2 * THEMES),
        limits=dataclasses.replace(WatchdogLimits(), least_steps=20),
    )
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.0, betas=(0.9, 0.98))
    found: list[tuple[int, Verdict]] = []
    seen: list[tuple[dict[str, float], float]] = []
    for step in range(1, steps + 1):
        if step % 30 == 1:
            held_out = made(10_000, texts=40)
            watch.measured(
                step, metrics=held_out_metrics(module, [held_out]), rank=hidden_state_rank(module, held_out.batch)
            )
        optimizer.param_groups[0]["lr"] = rate(step)
        parts = pretraining_loss(module, made(step, label=label))
        torch.autograd.backward([torch.stack([part.total / part.weight for part in parts.values()]).sum()])
        if frozen_after is not None and step > frozen_after:
            for parameter in module.parameters():
                parameter.grad = None if parameter.grad is None else torch.zeros_like(parameter)
        norm = float(nn.utils.clip_grad_norm_(module.parameters(), 1.0))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen.append(({name: float(part.total.detach() / part.weight) for name, part in parts.items()}, norm))
        if len(seen) == 3:
            means = {name: sum(one[name] for one, _ in seen) / 3 for name in parts}
            verdict = watch(
                LogPoint(
                    step=step,
                    examples=16 * step,
                    tokens=200 * step,
                    seconds=step / 10,
                    loss=sum(means.values()),
                    learning_rate=rate(step),
                    parts=means,
                    gradient_norm=sum(one for _, one in seen) / 3,
                )
            )
            seen.clear()
            if verdict is not None:
                found.append((step, verdict))
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_a_real_healthy_run_is_left_alone(seed: int) -> None:
    module = model()
    torch.manual_seed(seed)
    found = run(module, lambda step: 5e-3 * min(1.0, step / 15) * (1 - step / 151), steps=150)
    assert found == []


def acted(found: Sequence[tuple[int, Verdict]]) -> list[tuple[int, Verdict]]:
    return [one for one in found if one[1].action != "continue"]


def test_a_real_run_with_too_high_a_rate_is_caught_with_its_cause() -> None:
    step, verdict = acted(run(model(6), lambda _: 0.1, steps=90))[0]
    assert step <= 60
    assert verdict.action == "roll_back"
    assert "learning rate is too high" in verdict.reason


def test_a_real_run_whose_rate_jumps_is_sent_back() -> None:
    step, verdict = acted(run(model(), lambda step: 5e-3 if step <= 90 else 0.5, steps=150))[0]
    assert verdict.action == "roll_back"
    assert "jumped" in verdict.reason
    assert 90 < step <= 102


def test_a_real_run_without_gradients_is_stopped() -> None:
    step, verdict = acted(run(model(), lambda _: 5e-3, steps=90, frozen_after=30))[0]
    assert verdict.action == "stop"
    assert "vanished" in verdict.reason
    assert step <= 45


def test_a_real_run_with_one_label_is_spoken_of() -> None:
    found = run(model(), lambda step: 5e-3 * min(1.0, step / 15), steps=120, label=1)
    assert [verdict.action for _, verdict in found] == ["continue"]
    assert "labels are all the same" in found[0][1].reason


def test_a_real_collapse_shows_in_the_rank_of_the_states() -> None:
    module, batch = model(6), made(0, texts=30).batch
    before = hidden_state_rank(module, batch)
    run(module, lambda _: 0.1, steps=45)
    after = hidden_state_rank(module, batch)
    assert before.effective_rank > 5.0
    assert before.mean_cosine < 0.99
    assert after.effective_rank < 1.2
    assert after.mean_cosine > 0.999


def test_the_rank_is_that_of_real_tokens_without_dropout() -> None:
    torch.manual_seed(3)
    encoder = Encoder(dataclasses.replace(model().config, hidden_dropout_prob=0.5)).train()
    texts = [
        Encoded(input_ids=np.arange(5, 5 + length), token_type_ids=np.zeros(length, np.uint8)) for length in (4, 9, 2)
    ]
    flat = hidden_state_rank(encoder, packed(texts))
    rows = hidden_state_rank(encoder, padded(texts, pad_id=0))
    assert flat.tokens == rows.tokens == 15
    assert flat.effective_rank == pytest.approx(rows.effective_rank, rel=1e-4)
    assert flat.mean_cosine == pytest.approx(rows.mean_cosine, rel=1e-4)
    assert encoder.training
    with pytest.raises(ConfigError, match="no encoder"):
        hidden_state_rank(nn.Linear(2, 2), packed(texts))


def loop_run(rate: float, folder: Path, *, steps: int) -> TrainingResult:
    """Pretrain by the loop, which asks the watchdog."""
    module = model()
    config = TrainingConfig(precision="fp32", log_every=2, evaluate_every=30, warmup=0.1, max_steps=steps, seed=3)
    watch = Watchdog(
        vocab_size=SMALL,
        progress=lambda point: point.step / steps,
        unigram_entropy=math.log(2 * THEMES),
        limits=dataclasses.replace(WatchdogLimits(), least_steps=20),
    )
    held_out = made(10_000, texts=40)
    watch.measured(0, rank=hidden_state_rank(module, held_out.batch))

    def evaluate(precision: Precision) -> dict[str, float]:
        return measure_held_out(module, [held_out], precision).values()

    return fit(
        module,
        pretraining_loss,
        lambda number: [made(number)],
        config=config,
        learning_rate=rate,
        total_steps=steps,
        folder=folder,
        evaluate=evaluate,
        main_metric="masked_word_loss",
        greater_is_better=False,
        resume=False,
        weigh=lambda batch: part_weights(module, batch),
        watch=watch,
    )


def test_the_loop_leaves_a_healthy_run_alone(tmp_path: Path) -> None:
    result = loop_run(5e-3, tmp_path, steps=150)
    assert result.interventions == ()
    assert result.curve[-1].parts[MASKED_WORDS] < 1.5


def test_the_loop_does_what_the_watchdog_says(tmp_path: Path) -> None:
    result = loop_run(0.3, tmp_path, steps=150)
    actions = [one.action for one in result.interventions]
    assert "roll_back" in actions
    went_back = result.interventions[actions.index("roll_back")]
    assert went_back.rate_factor < 1.0
    assert went_back.back_to is not None
    assert "learning rate" in went_back.reason


def test_what_an_evaluation_measured_comes_back_from_the_curve() -> None:
    module = model()
    measured = measure_held_out(module, [made(10_000, texts=7)], "fp32")
    again = HeldOut.of_values(json.loads(json.dumps(measured.values())))
    assert again == measured
    assert HeldOut.of_values({"accuracy": 0.5}) is None


def test_a_collapse_that_the_curve_shows_is_seen_without_being_told_apart() -> None:
    watch, curve = watchdog(), points(healthy)
    metrics = PretrainingMetrics(masked_word_loss=3.0, tokens=9)
    for place, rank in ((5, FINE), (45, collapsed())):
        curve[place] = dataclasses.replace(curve[place], dev_metrics=HeldOut(metrics=metrics, rank=rank).values())
    share, _ = only(verdicts(watch, curve[:60]), "roll_back")
    assert share == pytest.approx(watch._progress(curve[45]), abs=0.01)
