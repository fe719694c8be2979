"""What a run writes, what it has learnt, and what becomes of a folder that something stands in."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import albertine as al
from albertine.batching.masking import MaskingSchedule
from albertine.batching.shards import Shards
from albertine.batching.step_plan import Phase
from albertine.errors import ConfigError, DataError, FailureError
from albertine.files import sha256
from albertine.training.log import read_log
from albertine.training.pretraining import run, setup
from albertine.training.pretraining.run import PretrainingOutcome
from albertine.training.progress import TrainingProgress

Pretrain = Callable[..., PretrainingOutcome]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def no_step(progress: TrainingProgress) -> None:
    raise AssertionError("a step was taken")


def stop_at(step: int) -> Callable[[TrainingProgress], None]:
    def tell(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return tell


def test_held_out_words_are_predicted_far_better_than_by_their_frequency(
    trained: PretrainingOutcome, corpus: Path
) -> None:
    shards = Shards(corpus, "train")
    counts = np.bincount(shards.tokens(0, shards.num_tokens), minlength=shards.vocab_size)
    shares = counts[counts > 0] / counts.sum()
    unigram = -float((shares * np.log(shares)).sum())
    loss = trained.measurements.dev_metrics["masked_word_loss"]
    assert unigram < math.log(shards.vocab_size)
    assert loss < 0.5 * unigram
    assert trained.measurements.dev_metrics["perplexity"] == pytest.approx(math.exp(loss))


def test_the_folder_opens_and_its_encoder_knows_the_language(
    trained: PretrainingOutcome, sentences: list[tuple[str, str]]
) -> None:
    model, tokenizer = al.load_pretraining(trained.folder)
    encoder, same = al.load_encoder(trained.folder)
    assert tokenizer is not None
    assert same is not None
    batch = tokenizer([text for text, _ in sentences])
    words = torch.tensor([tokenizer.token_to_id(word) for _, word in sentences])
    hidden = batch.input_ids == words[:, None]
    masked = batch.input_ids.masked_fill(hidden, tokenizer.mask_id)
    with torch.inference_mode():
        told = model(masked, attention_mask=batch.attention_mask, token_type_ids=batch.token_type_ids)
        alone = encoder(masked, attention_mask=batch.attention_mask, token_type_ids=batch.token_type_ids)
    assert torch.equal(told.encoder.last_hidden_state, alone.last_hidden_state)
    assert told.pair_logits.shape == (len(sentences), 2)
    best = told.prediction_logits[hidden].argmax(dim=-1)
    assert int((best == words).sum()) >= 5


def test_the_curve_carries_what_was_measured_and_the_best_weights_are_kept(trained: PretrainingOutcome) -> None:
    points = read_log(trained.folder / "log.jsonl")
    assert points == trained.curve
    assert [point.step for point in points] == list(range(1, 201))
    measured = [point for point in points if point.dev_metrics]
    assert [point.step for point in measured] == [67, 134, 200]
    for point in measured:
        assert point.dev_metrics["masked_word_loss"] == point.dev_metric
        assert {"masked_accuracy", "pair_accuracy", "state_effective_rank"} <= point.dev_metrics.keys()
    best = min(measured, key=lambda point: point.dev_metrics["masked_word_loss"])
    assert trained.measurements.best_step == best.step
    assert trained.measurements.dev_metrics == dict(best.dev_metrics)
    assert set(points[0].parts) == {"masked_words", "pair"}


def test_the_manifest_says_how_to_do_it_again(trained: PretrainingOutcome, corpus: Path, encoder: Path) -> None:
    manifest = json.loads((trained.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inputs"]["corpus"] == sha256(corpus / "corpus.json")
    assert manifest["inputs"]["encoder"]["sha256"]["model.safetensors"] == sha256(encoder / "model.safetensors")
    assert manifest["inputs"]["pretraining"]["tokens_per_step"] == 512
    assert manifest["inputs"]["training"]["max_steps"] == 200
    assert manifest["measurements"]["main_metric"] == "masked_word_loss"
    assert manifest["measurements"]["steps"] == 200
    assert manifest["measurements"]["dev_metrics"] == trained.measurements.dev_metrics
    assert manifest["data"]["documents"] + manifest["data"]["held_out_documents"] == 300
    assert manifest["command"]


def test_the_plan_is_kept_and_was_right_about_the_tokens(trained: PretrainingOutcome) -> None:
    plan = json.loads((trained.folder / "plan.json").read_text(encoding="utf-8"))["plan"]
    assert plan["size"]["total_steps"] == 200
    assert plan["pair"] == "nsp"
    assert plan["masking"] == "whole-words"
    assert plan["phases"] == [{"length": 32, "share": 1.0}]
    assert trained.measurements.tokens == pytest.approx(plan["size"]["tokens"], rel=0.1)
    assert plan["disk_bytes"] > sum(len(data) for data in files_of(trained.folder).values())


def test_nothing_but_the_encoder_and_the_run_is_left_in_the_folder(trained: PretrainingOutcome) -> None:
    assert sorted(files_of(trained.folder)) == [
        "README.md",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "config.json",
        "log.jsonl",
        "manifest.json",
        "model.safetensors",
        "plan.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]


@pytest.mark.parametrize(
    ("lang", "title", "told"),
    [
        ("en", "pretrained on", ["Held out", "held out", "Rows were at most 32", "30% → 15%"]),
        ("zh", "预训练", ["留出集", "训练行长不超过 32", "30% → 15%"]),
    ],
)
def test_the_card_stands_in_the_language_asked_for(
    pretrain: Pretrain, tmp_path: Path, lang: str, title: str, told: list[str]
) -> None:
    schedule = MaskingSchedule(first=0.3, last=0.15)
    outcome = pretrain(tmp_path / "out", lang=lang, mask_share=schedule)
    card = (outcome.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: albertine\n")
    assert title in next(line for line in card.splitlines() if line.startswith("# "))
    for text in told:
        assert text in card
    assert f"| masked_word_loss * | {outcome.measurements.dev_metrics['masked_word_loss']:.4f} |" in card


def test_a_finished_run_is_returned_at_once(pretrain: Pretrain, trained: PretrainingOutcome) -> None:
    before = files_of(trained.folder)
    again = pretrain(trained.folder, training={"max_steps": 200}, progress=no_step)
    assert again.measurements == trained.measurements
    assert again.curve == trained.curve
    assert files_of(trained.folder) == before


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"tokens_per_step": 640}, ["pretraining.tokens_per_step: 640 now", "pretraining.tokens_per_step: 512"]),
        ({"pair": "none"}, ['pretraining.pair: "none" now']),
        ({"training": {"max_steps": 7}}, ["training.max_steps: 7 now", "training.max_steps: 200"]),
        ({"training": {"max_steps": 200, "seed": 1}}, ["training.seed: 1 now"]),
    ],
)
def test_a_folder_with_another_run_is_refused_and_the_difference_named(
    pretrain: Pretrain, trained: PretrainingOutcome, changed: dict[str, object], named: list[str]
) -> None:
    before = files_of(trained.folder)
    with pytest.raises(ConfigError, match="--restart") as refused:
        pretrain(trained.folder, **{"training": {"max_steps": 200}, "progress": no_step, **changed})
    for text in named:
        assert text in str(refused.value)
    assert files_of(trained.folder) == before


def test_an_interrupted_run_refuses_other_options_too(pretrain: Pretrain, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path, training={"max_steps": 9}, progress=stop_at(2))
    with pytest.raises(ConfigError, match=r"training\.max_steps: 8 now"):
        pretrain(tmp_path, training={"max_steps": 8})
    assert pretrain(tmp_path, training={"max_steps": 9}).measurements.steps == 9


def test_a_corpus_that_changed_is_another_run(
    pretrain: Pretrain, make_corpus: Callable[..., Path], texts: Callable[..., list[str]], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path, progress=stop_at(1))
    with pytest.raises(ConfigError, match="corpus"):
        pretrain(tmp_path, corpus=make_corpus(texts(60, seed=8)))


def test_restart_begins_again(pretrain: Pretrain, trained: PretrainingOutcome, tmp_path: Path) -> None:
    shutil.copytree(trained.folder, tmp_path / "out")
    steps = []
    again = pretrain(
        tmp_path / "out", training={"max_steps": 5}, resume=False, progress=lambda told: steps.append(told.step)
    )
    assert steps == [1, 2, 3, 4, 5]
    assert [point.step for point in read_log(tmp_path / "out" / "log.jsonl")] == steps
    assert again.measurements.steps == 5
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["plan"]["size"]["total_steps"] == 5
    assert again.measurements.dev_metrics["masked_word_loss"] > trained.measurements.dev_metrics["masked_word_loss"] + 1


def test_a_restarted_run_that_is_interrupted_goes_on_without_restart(
    pretrain: Pretrain, trained: PretrainingOutcome, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path / "out", training={"max_steps": 6}, resume=False, progress=stop_at(4))
    steps = []
    again = pretrain(tmp_path / "out", training={"max_steps": 6}, progress=lambda told: steps.append(told.step))
    assert steps == [5, 6]
    assert again.measurements.steps == 6


def test_what_fails_before_the_first_step_binds_nobody(
    pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise FailureError("the evaluation broke")

    with monkeypatch.context() as patched:
        patched.setattr(run, "measure_held_out", broken)
        with pytest.raises(FailureError, match="the evaluation broke"):
            pretrain(tmp_path / "out", progress=no_step)
    assert pretrain(tmp_path / "out", training={"max_steps": 2}).measurements.steps == 2


def test_an_encoder_that_comes_back_otherwise_is_seen_before_the_first_step(
    pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened = run.open_state

    def other(*words: object, **options: object) -> object:
        found = opened(*words, **options)
        name = "encoder.embeddings.word_embeddings.weight"
        tensors = {**found.state.tensors, name: found.state.tensors[name] + 1e-3}
        return SimpleNamespace(state=SimpleNamespace(tensors=tensors))

    monkeypatch.setattr(run, "open_state", other)
    with pytest.raises(FailureError, match=r"not the same.*word_embeddings"):
        pretrain(tmp_path / "out", progress=no_step)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert not list((tmp_path / "out").glob(".check.*"))


def test_a_folder_that_cannot_be_written_to_is_said_before_the_first_step(
    pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise FailureError("the disk is full")

    monkeypatch.setattr(run, "save_state", full)
    with pytest.raises(FailureError, match="the disk is full"):
        pretrain(tmp_path / "out", progress=no_step)


def test_what_a_killed_check_left_behind_is_cleared_away(pretrain: Pretrain, tmp_path: Path) -> None:
    (tmp_path / ".check.left" / "encoder").mkdir(parents=True)
    (tmp_path / ".check.left" / "encoder" / "model.safetensors").write_bytes(b"half")
    pretrain(tmp_path)
    assert not [name for name in files_of(tmp_path) if name.startswith(".")]


def test_a_plan_writes_nothing_and_says_what_the_run_will_do(
    corpus: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("albertine.training.pretraining.speed._SECONDS_EACH", 0.0)
    begun = files_of(corpus)
    config = al.PretrainingConfig(phases=(Phase(length=32, share=0.75), Phase(length=48, share=0.25)))
    plan = al.plan_pretraining(
        corpus, encoder=encoder, out=tmp_path / "out", config=config, training=al.pretraining_defaults(tokens=40_000)
    )
    assert list(tmp_path.iterdir()) == []
    assert files_of(corpus) == begun
    assert plan.size.tokens == pytest.approx(40_000, rel=0.1)
    assert plan.size.tokens_per_step == 4096
    assert plan.epochs == pytest.approx(plan.size.tokens / Shards(corpus, "train").num_tokens)
    said = "\n".join(plan.lines())
    for text in ("next sentence (nsp)", "32 (75%) then 48 (25%)", "4,096 tokens", "tokens/s", "GB a process"):
        assert text in said


def test_a_run_goes_by_its_budget_in_tokens_or_epochs(pretrain: Pretrain, corpus: Path, tmp_path: Path) -> None:
    train = Shards(corpus, "train").num_tokens
    for name, budget, tokens in (("tokens", 5000, 5000), ("epochs", 0.5, train / 2)):
        done = pretrain(tmp_path / name, training={name: budget}).measurements
        assert tokens <= done.tokens < tokens + 512
        plan = json.loads((tmp_path / name / "plan.json").read_text())["plan"]["size"]
        assert plan["total_steps"] == pytest.approx(done.steps, abs=1)


def test_a_run_of_minutes_keeps_its_steps_when_it_goes_on(
    pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    training = {"minutes": 0.01}
    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path, training=training, progress=stop_at(2))
    before = (tmp_path / "plan.json").read_bytes()
    assert json.loads(before)["plan"]["size"]["total_steps"] > 2

    def measured_again(*_: object) -> None:
        raise AssertionError("the run was planned again")

    monkeypatch.setattr(setup, "measure_cost", measured_again)
    done = pretrain(tmp_path, training=training).measurements
    assert (tmp_path / "plan.json").read_bytes() == before
    assert done.training_seconds >= 0.6
    assert done.steps > 2


def test_rows_longer_than_the_positions_are_refused(pretrain: Pretrain, tmp_path: Path) -> None:
    phases = (Phase(length=32, share=0.5), Phase(length=49, share=0.5))
    with pytest.raises(ConfigError, match=r"--lengths.*49.*up to 48.*--lengths 48"):
        pretrain(tmp_path / "out", phases=phases)
    assert not (tmp_path / "out").exists()


def test_a_corpus_that_holds_nothing_out_is_refused(
    pretrain: Pretrain, make_corpus: Callable[..., Path], texts: Callable[..., list[str]], tmp_path: Path
) -> None:
    whole = make_corpus(texts(20), held_out=0.0, held_out_documents=0)
    with pytest.raises(DataError, match=r"held out.*--held-out 0\.01"):
        pretrain(tmp_path / "out", corpus=whole)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_too_small_is_seen_before_anything_is_written(
    pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(total=10**9, used=0, free=300_000))
    with pytest.raises(FailureError, match=r"too little room.*0\.00 GB free"):
        pretrain(tmp_path / "out", progress=no_step)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"phases": (Phase(length=32), Phase(length=48))}, "the shares of the phases do not add up"),
        ({"ramp": 0.3}, "a batch that grows needs both"),
        ({"first_tokens_per_step": 128}, "a batch that grows needs both"),
        ({"first_tokens_per_step": 1024, "ramp": 0.3}, "1024 to 512"),
        ({"tokens_per_step": None, "first_tokens_per_step": 10**6, "ramp": 0.3}, "1000000 to 4096"),
        ({"tokens_per_step": 31}, r"Received: 31\. Allowed: 32"),
        ({"ramp": 1.5, "first_tokens_per_step": 128}, "ramp"),
    ],
)
def test_examples_that_cannot_be_made_are_refused_before_anything_is_written(
    pretrain: Pretrain, tmp_path: Path, given: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        pretrain(tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_of_somebody_is_left_alone(pretrain: Pretrain, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"README\.md"):
        pretrain(tmp_path)
    assert files_of(tmp_path) == {"README.md": b"mine"}
