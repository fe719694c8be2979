from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from albertine.checkpoints.writing import save_encoder
from albertine.comparison.compare import compare
from albertine.comparison.report import read_report
from albertine.comparison.results import CandidateSummary, ComparisonReport, RunResult
from albertine.data.identity import normalised
from albertine.errors import ConfigError, DataError, FailureError
from albertine.inference.loading import load
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.tokenization.learn import learn_vocabulary
from albertine.training.progress import TrainingProgress

SUBJECTS = ["手机", "衣服", "酒店", "这本书", "苹果", "the phone", "this book"]
PRAISE = ["很好", "满意", "喜欢", "值得推荐", "great", "lovely"]
BLAME = ["很差", "失望", "退货", "不值得", "awful", "broken"]


def rows() -> list[tuple[str, str]]:
    """Return 168 distinct texts, and 24 lines that repeat one of them in another form."""
    distinct = [
        (f"{subject} {feature} {word}", label)
        for label, words in (("good", PRAISE), ("bad", BLAME))
        for subject, feature, word in itertools.product(SUBJECTS, ["质量", "price"], words)
    ]
    return distinct + [(f" {text.upper()}  ", label) for text, label in distinct[::7]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data.csv, a tiny encoder and one whose weights are cut off."""
    place = tmp_path_factory.mktemp("compare")
    lines = ["text,label", *(f"{text},{label}" for text, label in rows())]
    (place / "data.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    torch.manual_seed(13)
    tokenizer = learn_vocabulary((text for text, _ in rows()), size=199)
    config = EncoderConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, embedding_size=16, max_position_embeddings=32, share="all",
    )  # fmt: skip
    save_encoder(Encoder(config), tokenizer, place / "tiny-albert")
    shutil.copytree(place / "tiny-albert", place / "cut-off")
    weights = place / "cut-off" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return place


def run(
    folder: Path,
    out: str,
    *,
    encoders: list[str],
    baselines: list[str],
    seeds: int = 2,
    epochs: float = 3.0,
    progress: Callable[[TrainingProgress], None] = lambda progress: None,
) -> ComparisonReport:
    return compare(
        folder / "data.csv",
        encoders=[folder / name for name in encoders],
        baselines=baselines,
        out=folder / out,
        seeds=seeds,
        epochs=epochs,
        batch_size=17,
        learning_rate=3e-3,
        vocabulary_size=199,
        progress=progress,
    )


@pytest.fixture(scope="module")
def finished(folder: Path) -> ComparisonReport:
    """A comparison of two candidates with two seeds, in `out`."""
    return run(folder, "out", encoders=["tiny-albert"], baselines=["bag-of-words"])


def candidate(report: ComparisonReport, name: str) -> CandidateSummary:
    return next(one for one in report.candidates if one.name == name)


def runs(report: ComparisonReport) -> list[RunResult]:
    return [run for one in report.candidates for run in one.runs]


def stamps(folder: Path, name: str) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in (folder / "jobs").rglob(name)}


def test_every_run_is_measured_and_the_solver_runs_once(finished: ComparisonReport) -> None:
    assert {one.name: one.seeds for one in finished.candidates} == {
        "tiny-albert": (0, 1),
        "bag-of-words": (0,),
    }
    for one in runs(finished):
        assert one.failed is None
        assert len(one.evidence) == finished.data.test
        assert one.training is not None
        assert one.prediction is not None
        assert one.training.peak_memory_bytes > 0
        assert one.prediction.peak_memory_bytes > 0
        assert one.prediction.requests >= 100
        assert 0 < one.prediction.latency_ms_p50 <= one.prediction.latency_ms_p95 <= one.prediction.latency_ms_p99
        assert one.prediction.bytes_on_disk > 0
        assert one.parameters_executed >= one.parameters_unique > 0


def test_what_a_candidate_is_shows_in_its_numbers(finished: ComparisonReport) -> None:
    albert, words = candidate(finished, "tiny-albert"), candidate(finished, "bag-of-words")
    assert (albert.kind, words.kind) == ("albert", "bag-of-words")
    assert albert.runs[0].parameters_executed > albert.runs[0].parameters_unique
    assert albert.runs[0].flops_per_token
    assert words.runs[0].flops_per_token is None
    assert words.runs[0].curve == ()
    curve = albert.runs[0].curve
    assert [point.examples for point in curve] == sorted(point.examples for point in curve)
    assert curve[-1].examples == 3 * finished.data.train
    assert any(point.dev_metric is not None for point in curve)


def test_all_get_the_same_budget_and_the_same_test_texts(finished: ComparisonReport) -> None:
    trained = [one for one in finished.candidates if one.kind != "bag-of-words"]
    assert {run.training.examples for one in trained for run in one.runs if run.training} == {3 * finished.data.train}
    assert {len(run.evidence) for run in runs(finished)} == {finished.data.test}
    assert "17" in finished.budget


def test_no_text_is_on_two_sides_and_the_report_says_what_was_removed(folder: Path, finished: ComparisonReport) -> None:
    sides = []
    for name in ("train", "dev", "test"):
        lines = (folder / "out" / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        sides.append({normalised(json.loads(line)["text"]) for line in lines})
    assert sum(map(len, sides)) == len(set.union(*sides)) == 168
    assert (finished.data.train, finished.data.dev, finished.data.test) == tuple(map(len, sides))
    assert any("192" in note and "168" in note for note in finished.data.notes)


def test_the_texts_in_the_workspace_are_the_users_alone(folder: Path, finished: ComparisonReport) -> None:
    assert (folder / "out" / "data").stat().st_mode & 0o077 == 0


def test_the_easy_task_is_learnt_and_a_candidate_recommended_with_its_folder(
    folder: Path, finished: ComparisonReport
) -> None:
    words = candidate(finished, "bag-of-words")
    assert words.quality is not None
    assert words.quality.value > 0.9
    assert finished.recommended is not None
    named = [reason for reason in finished.reasons if str(folder / "out" / "jobs") in reason]
    assert len(named) == 1
    chosen = candidate(finished, finished.recommended)
    assert any(run.folder in named[0] for run in chosen.runs)
    best = max(chosen.runs, key=lambda run: run.dev_metric or 0.0)
    model = load(folder / "out" / best.folder)
    assert {prediction.label for prediction in model.predict(["质量 很好", "质量 很差"])} <= {"good", "bad"}


def test_the_report_is_on_disk_as_it_was_returned(folder: Path, finished: ComparisonReport) -> None:
    assert read_report(folder / "out") == finished
    assert "</html>" in (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_the_kept_models_have_no_checkpoints(folder: Path, finished: ComparisonReport) -> None:
    assert not list((folder / "out").rglob("checkpoints"))
    assert not list((folder / "out").rglob("*.tmp"))


def test_a_finished_comparison_is_shown_again_without_any_run(folder: Path, finished: ComparisonReport) -> None:
    before = stamps(folder / "out", "*.json")
    again = run(folder, "out", encoders=["tiny-albert"], baselines=["bag-of-words"])
    assert stamps(folder / "out", "*.json") == before
    assert again.candidates == finished.candidates


def test_only_what_is_missing_is_done_again(folder: Path, finished: ComparisonReport) -> None:
    (folder / "out" / "jobs" / "tiny-albert-seed1" / "measure.json").unlink()
    trained, measured = stamps(folder / "out", "train.json"), stamps(folder / "out", "measure.json")
    again = run(folder, "out", encoders=["tiny-albert"], baselines=["bag-of-words"])
    assert stamps(folder / "out", "train.json") == trained
    now = stamps(folder / "out", "measure.json")
    assert set(now) - set(measured) == {"jobs/tiny-albert-seed1/measure.json"}
    assert {name: now[name] for name in measured} == measured
    assert [run.evidence for run in runs(again)] == [run.evidence for run in runs(finished)]


def test_a_broken_candidate_is_a_failed_run_and_the_others_stay(folder: Path, finished: ComparisonReport) -> None:
    report = run(folder, "out", encoders=["cut-off", "tiny-albert"], baselines=["bag-of-words"])
    broken = candidate(report, "cut-off")
    assert broken.failed == 2
    assert broken.quality is None
    assert report.candidates[-1] == broken
    for one in broken.runs:
        assert one.failed is not None
        assert "model.safetensors" in one.failed
    assert report.recommended == finished.recommended
    for one in finished.candidates:
        assert [run.evidence for run in candidate(report, one.name).runs] == [run.evidence for run in one.runs]


def test_when_every_run_fails_the_report_is_written_and_the_reason_told(folder: Path) -> None:
    with pytest.raises(FailureError, match=r"model\.safetensors"):
        run(folder, "hopeless", encoders=["cut-off"], baselines=[], seeds=1)
    assert read_report(folder / "hopeless").recommended is None


def test_an_interrupted_training_continues_where_it_stopped(folder: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        raise KeyboardInterrupt

    def remember(progress: TrainingProgress) -> None:
        seen.append(progress.step)

    with pytest.raises(KeyboardInterrupt):
        run(folder, "stopped", encoders=["tiny-albert"], baselines=[], seeds=1, epochs=25.0, progress=interrupt)
    job = folder / "stopped" / "jobs" / "tiny-albert-seed0"
    assert (job / "model" / "checkpoints" / "last.safetensors").exists()
    assert not (job / "train.json").exists()
    seen: list[int] = []
    report = run(folder, "stopped", encoders=["tiny-albert"], baselines=[], seeds=1, epochs=25.0, progress=remember)
    assert seen[0] > 1
    [one] = runs(report)
    assert one.failed is None
    assert one.training is not None
    assert one.training.examples == 25 * report.data.train


def test_another_comparison_in_the_same_folder_is_refused(folder: Path, finished: ComparisonReport) -> None:
    with pytest.raises(ConfigError, match="another comparison") as caught:
        run(folder, "out", encoders=["tiny-albert"], baselines=[], epochs=5.0)
    assert "--out" in str(caught.value)


def test_a_folder_with_something_else_in_it_is_left_alone(folder: Path) -> None:
    (folder / "precious").mkdir()
    (folder / "precious" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"thesis\.txt"):
        run(folder, "precious", encoders=[], baselines=["bag-of-words"])
    assert [path.name for path in (folder / "precious").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seeds": 0}, "seeds"),
        ({"baselines": ["bag-of-word"]}, "bag-of-words"),
        ({"encoders": ["preset:albert-bas"]}, "albert-base"),
        ({"encoders": ["nowhere/encoder"]}, "nowhere/encoder"),
        ({"encoders": [], "baselines": []}, "nothing to compare"),
        ({"encoders": ["preset:bert-tiny", "preset:bert-tiny"]}, "twice"),
        ({"epochs": 1.0, "minutes": 1.0}, "budget"),
        ({"device": "tpu"}, "device"),
        ({"task": "text-clasification"}, "text-classification"),
        ({"lang": "fr"}, "language"),
    ],
)
def test_a_wrong_option_is_told_before_anything_runs(folder: Path, options: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        compare(folder / "data.csv", out=folder / "never", **options)  # type: ignore[arg-type]
    assert not (folder / "never").exists()


def test_missing_data_is_told_before_anything_runs(folder: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.csv"):
        compare(folder / "nothing.csv", out=folder / "never")
    assert not (folder / "never").exists()
