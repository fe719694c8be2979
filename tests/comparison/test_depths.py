"""Elastic encoders in a comparison: measured at every depth, and shown so."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from albertine.checkpoints.writing import save_encoder
from albertine.comparison.compare import compare
from albertine.comparison.depth_charts import DepthCurve, depth_chart
from albertine.comparison.depths import mean_depths
from albertine.comparison.page import render_page
from albertine.comparison.report import read_report, write_report
from albertine.comparison.results import ComparisonReport, DepthPoint, RunResult
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.tokenization.learn import learn_vocabulary
from albertine.training.methods.choices import Methods

POINTS = (
    DepthPoint(depth=1, passes=1.0, quality=0.71, speed=2.9),
    DepthPoint(depth=2, passes=2.0, quality=0.83, speed=1.6),
    DepthPoint(depth=3, passes=3.0, quality=0.84, speed=1.0),
    DepthPoint(depth=None, passes=1.7, quality=0.835, speed=1.9),
)
ROWS = [
    f"{thing} {number} {word},{label}"
    for thing in ("soup", "room", "酒店")
    for number in range(13)
    for word, label in (("lovely", "good"), ("awful", "bad"), ("很好", "good"))
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ComparisonReport:
    """A comparison of an elastic encoder of three passes with a bag of words."""
    folder = tmp_path_factory.mktemp("depths")
    (folder / "data.csv").write_text("\n".join(["text,label", *ROWS]) + "\n", encoding="utf-8")
    tokenizer = learn_vocabulary(ROWS, size=120)
    config = EncoderConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=48, embedding_size=16, max_position_embeddings=32, share="all",
    )  # fmt: skip
    torch.manual_seed(3)
    save_encoder(Encoder(config), tokenizer, folder / "tiny")
    return compare(
        folder / "data.csv", encoders=[folder / "tiny"], baselines=["bag-of-words"], out=folder / "out", seeds=2,
        epochs=4.0, batch_size=13, learning_rate=3e-3, methods=Methods(elastic=True), progress=lambda progress: None,
    )  # fmt: skip


def test_every_depth_is_measured_on_the_test_split(report: ComparisonReport) -> None:
    by_name = {one.name: one for one in report.candidates}
    assert all(run.depths == () for run in by_name["bag-of-words"].runs)
    for run in by_name["tiny"].runs:
        assert [one.depth for one in run.depths] == [1, 2, 3, None]
        assert run.depths[2].quality == pytest.approx(run.metrics[report.main_metric])
        assert 1 <= run.depths[3].passes <= 3
        assert all(one.speed > 0 for one in run.depths)


def test_the_report_read_back_is_the_report_written(report: ComparisonReport, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    assert read_report(tmp_path) == report


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_shows_the_depths_of_elastic_candidates_alone(report: ComparisonReport, language: str) -> None:
    page = render_page(replace(report, language=language))
    (section,) = re.findall(r'<section id="depth".*?</section>', page, flags=re.DOTALL)
    assert section.count("<tr>") == 5
    assert "bag-of-words" not in section
    plain = [replace(one, runs=tuple(replace(run, depths=()) for run in one.runs)) for one in report.candidates]
    assert 'id="depth"' not in render_page(replace(report, candidates=tuple(plain)))


def test_depths_are_averaged_over_seeds() -> None:
    runs = [
        RunResult(
            candidate="a", seed=seed, depths=tuple(replace(one, quality=one.quality + 0.02 * seed) for one in POINTS)
        )
        for seed in range(3)
    ]
    failed = RunResult(candidate="a", seed=3, failed="killed")
    found = mean_depths([*runs, failed])
    assert [one.depth for one in found] == [1, 2, 3, None]
    assert found[0].quality == pytest.approx(0.73)
    assert mean_depths([failed]) == ()


def test_the_chart_has_a_marker_and_a_name_a_depth() -> None:
    drawn = depth_chart(
        [DepthCurve(name="a < b", series=1, points=POINTS)], identifier="depths", title="t", x_label="x", y_label="y",
        fitted="as needed",
    )  # fmt: skip
    assert drawn.count("<rect") == 4
    assert re.findall(r">(1|2|3|as needed)</text>", drawn)[-4:] == ["1", "2", "3", "as needed"]
    assert "a &lt; b, as needed: 83.5 %, 1.90 ×" in drawn
    (line,) = re.findall(r'class="mean s1" d="M([^"]+)"', drawn)
    across = [float(point.split()[0]) for point in line.split("L")]
    assert across == sorted(across, reverse=True)
