from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from albertine.comparison.jobs import Job, JobFolder, Trained
from albertine.comparison.results import CurvePoint, DepthPoint, PredictionCost, RunResult, TrainingCost
from albertine.comparison.workspace import Workspace
from albertine.data.columns import Columns
from albertine.data.samples import SplitCounts, Splits
from albertine.errors import CheckpointError, ConfigError
from albertine.records import Example
from albertine.training.config import TrainingConfig

JOB = Job(
    candidate="albert",
    source="preset:albert-base",
    fingerprint={"name": "preset:albert-base"},
    seed=1,
    task="text-classification",
    main_metric="accuracy",
    training=TrainingConfig(epochs=2.0, seed=1).to_dict(),
    max_length=99,
    options={},
    vocabulary="abc",
    data="def",
    device="cpu",
    threads=2,
    methods={"elastic": True},
    versions={"torch": "2.13.0"},
    language="en",
)
TRAINED = Trained(
    cost=TrainingCost(seconds=7.5, examples=13, tokens=99, tokens_per_second=13.2, peak_memory_bytes=7),
    dev_metric=0.75,
    curve=(
        CurvePoint(step=1, examples=13, seconds=0.5, loss=0.7),
        CurvePoint(step=2, examples=26, seconds=1, loss=0.6),
    ),
)
RESULT = RunResult(
    candidate="albert",
    seed=1,
    folder="jobs/albert-seed1/model",
    evidence=((0.0, 0.0, 0.5), (1.0, 1.0, 0.75), (0.0, 1.0, 1.0)),
    metrics={"accuracy": 0.66},
    dev_metric=0.75,
    curve=TRAINED.curve,
    training=TRAINED.cost,
    prediction=PredictionCost(
        latency_ms_p50=1.0, latency_ms_p95=2.0, latency_ms_p99=3.0, requests=100, texts_per_second=13.0,
        tokens_per_second=99.0, peak_memory_bytes=7, bytes_on_disk=13, precision="fp32",
    ),
    parameters_unique=7,
    parameters_executed=13,
    flops_per_token=99.0,
    depths=(
        DepthPoint(depth=1, passes=1.0, quality=0.6, speed=1.7),
        DepthPoint(depth=None, passes=1.4, quality=0.66, speed=1.3),
    ),
)  # fmt: skip


def splits() -> Splits:
    rows = [
        Example(text="好，\n第二行 \u2028 ", label="1", file="a.csv", line=2),
        Example(text="b", text_pair="c\x1f", label="0", file="a.csv", line=4),
        Example(text='"quoted", \\ and \ud800', label="1"),
    ]
    return Splits(
        train=(rows[0],), dev=(rows[1],), test=(rows[2],), labels=("0", "1"), notes=("noted",), sha256={"a.csv": "77"},
        source="a.csv", bad_rows=(), columns=Columns(text="text", label="label"),
        counts=SplitCounts(
            rows=3, distinct=3, sampled=3, conflicting=0, duplicates_removed=0, overlaps_removed=0, outside_sample=0
        ),
    )  # fmt: skip


@pytest.fixture
def done(tmp_path: Path) -> JobFolder:
    """The folder of a job that is trained and measured."""
    folder = JobFolder(tmp_path / "albert-seed1")
    folder.prepare(JOB)
    folder.model.mkdir()
    (folder.model / "config.json").write_text("{}", encoding="utf-8")
    folder.write_trained(JOB, TRAINED)
    folder.write_measured(JOB, RESULT)
    return folder


def test_what_the_processes_hand_over_comes_back_as_it_was(done: JobFolder) -> None:
    assert Job.read(done.job) == JOB
    assert done.read_trained(JOB) == TRAINED
    assert done.read_measured(JOB) == RESULT
    assert Job.read(done.job).training_config() == TrainingConfig(epochs=2.0, seed=1)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"max_length": 98},
        {"vocabulary": None},
        {"data": "other"},
        {"fingerprint": {"name": "preset:albert-base", "sha256": {"model.safetensors": "00"}}},
        {"training": TrainingConfig(epochs=3.0, seed=1).to_dict()},
        {"device": "cuda"},
        {"main_metric": "macro_f1"},
        {"threads": 1},
        {"methods": {}},
        {"versions": {"torch": "2.14.0"}},
    ],
)
def test_a_job_that_changed_is_done_again_from_the_start(done: JobFolder, change: dict[str, object]) -> None:
    changed = dataclasses.replace(JOB, **change)  # type: ignore[arg-type]
    assert done.read_trained(changed) is None
    assert done.read_measured(changed) is None
    done.prepare(changed)
    assert not done.model.exists()
    assert Job.read(done.job) == changed


def test_a_report_in_another_language_repeats_nothing(done: JobFolder) -> None:
    chinese = dataclasses.replace(JOB, language="zh")
    done.prepare(chinese)
    assert done.read_measured(chinese) == RESULT


def test_preparing_the_same_job_again_keeps_what_is_finished_and_forgets_the_failure(done: JobFolder) -> None:
    done.write_error("out of luck")
    assert done.read_error() == "out of luck"
    done.prepare(JOB)
    assert done.read_error() is None
    assert done.read_measured(JOB) == RESULT


def test_a_damaged_or_missing_file_means_unfinished(done: JobFolder) -> None:
    (done.path / "measure.json").write_text('{"key": "', encoding="utf-8")
    assert done.read_measured(JOB) is None
    assert done.require_trained(JOB) == TRAINED
    (done.model / "config.json").unlink()
    with pytest.raises(CheckpointError, match="not been trained"):
        done.require_trained(JOB)


def test_splits_come_back_as_they_were_whatever_their_texts(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "out")
    workspace.write_splits(splits())
    assert workspace.read_splits() == splits()
    assert workspace.read_test() == splits().test


def test_a_free_folder_is_claimed_and_found_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "out")
    assert workspace.claim({"data": "x", "seeds": (1, 2)}, resume=True) is False
    workspace.seal({"data": "x", "seeds": (1, 2)})
    assert workspace.claim({"data": "x", "seeds": (1, 2)}, resume=True) is True


def test_a_folder_that_was_claimed_and_not_completed_is_filled_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "out")
    workspace.claim({"data": "x"}, resume=True)
    workspace.write_splits(splits())
    assert workspace.claim({"data": "x"}, resume=True) is False


@pytest.mark.parametrize("name", ["data", "vocabulary", "jobs"])
def test_a_users_own_folder_is_never_taken_for_a_comparisons(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "train.jsonl").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=name):
        Workspace(tmp_path).claim({"data": "x"}, resume=True)
    assert (tmp_path / name / "train.jsonl").read_text(encoding="utf-8") == "mine"


def test_the_difference_to_another_comparison_is_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "out")
    workspace.seal({"data": "x", "max_length": 99})
    with pytest.raises(ConfigError, match="max_length: 13") as caught:
        workspace.claim({"data": "x", "max_length": 13}, resume=True)
    assert "data" not in str(caught.value)


def test_starting_over_removes_only_what_is_a_comparisons(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "out")
    workspace.write_splits(splits())
    workspace.seal({"data": "x"})
    assert workspace.claim({"data": "y"}, resume=False) is False
    assert [path.name for path in workspace.path.iterdir()] == ["comparison.json"]
    (workspace.path / "comparison.json").unlink()
    (workspace.path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        workspace.claim({"data": "y"}, resume=False)
    assert (workspace.path / "notes.txt").exists()


def test_a_damaged_identity_is_told(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"comparison\.json"):
        Workspace(tmp_path).claim({}, resume=True)


def test_the_hash_of_the_splits_sees_texts_labels_and_sides() -> None:
    first = splits()
    moved = dataclasses.replace(first, train=(*first.train, *first.dev), dev=())
    relabelled = dataclasses.replace(first, test=(dataclasses.replace(first.test[0], label="0"),))
    assert len({one.content_hash() for one in (first, moved, relabelled)}) == 3
    assert first.content_hash() == splits().content_hash()
