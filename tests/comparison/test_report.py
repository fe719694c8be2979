from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rich.cells import cell_len

from albertine.catalogue import catalogue
from albertine.comparison.recommendation import recommend
from albertine.comparison.report import (
    HTML_FILE,
    JSON_FILE,
    SCHEMA_VERSION,
    read_report,
    report_json,
    terminal_table,
    write_report,
)
from albertine.comparison.results import (
    ComparisonReport,
    CurvePoint,
    DataSummary,
    PredictionCost,
    RunResult,
    TrainingCost,
)
from albertine.comparison.summary import CandidateInfo, summarise
from albertine.comparison.table import wrapped
from albertine.errors import DataError
from albertine.evaluation.metrics import classification_rankings

CATEGORIES = ("书籍", "平板", "手机", "水果", "洗发水", "热水器", "蒙牛", "衣服", "计算机", "酒店")
VOID = {"meta", "br", "img", "input", "hr", "link"}
NAMES = {"bert-tiny": "bert", "albert-tiny": "albert", "bag-of-words": "bag-of-words"}


class Page(HTMLParser):
    """Checks that every tag is closed in order, and collects what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open:
            self.words.append((self.open[-1], data.strip()))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def texts_in(self, tag: str) -> list[str]:
        return [text for name, text in self.words if name == tag]


def some_run(name: str, seed: int, gold: npt.NDArray[np.int64], classes: int) -> RunResult:
    generator = np.random.default_rng([seed, len(name)])
    wrong = (gold + generator.integers(1, max(classes, 2), len(gold))) % classes
    predicted = np.where(generator.random(len(gold)) < 0.85, gold, wrong)
    scale = 1 + len(name) % 5
    return RunResult(
        candidate=name,
        seed=seed,
        folder=f"{name}/{seed}",
        evidence=tuple((float(one), float(other), 0.5) for one, other in zip(gold, predicted, strict=True)),
        metrics={"accuracy": float((gold == predicted).mean()), "macro_f1": 0.8, "ece": 0.05},
        dev_metric=0.86,
        curve=()
        if name == "bag-of-words"
        else tuple(
            CurvePoint(
                step=step,
                examples=step * 32,
                seconds=step * 0.5,
                loss=1 / step,
                dev_metric=0.5 + 0.03 * step if step % 2 else None,
            )
            for step in range(1, 12)
        ),
        training=TrainingCost(
            seconds=75.0 * scale, examples=999, tokens=13_000, tokens_per_second=1300.0, peak_memory_bytes=700_000_000
        ),
        prediction=PredictionCost(
            latency_ms_p50=1.5 * scale,
            latency_ms_p95=2.5 * scale,
            latency_ms_p99=3.5 * scale,
            requests=100,
            texts_per_second=700.0,
            tokens_per_second=13_000.0,
            peak_memory_bytes=300_000_000,
            bytes_on_disk=16_500_000 * scale,
            precision="bf16",
        ),
        parameters_unique=4_100_000,
        parameters_executed=9_100_000,
        flops_per_token=18.2e6,
    )


def some_report(
    *,
    language: str = "en",
    labels: tuple[str, ...] = ("bad", "good"),
    seeds: int = 3,
    names: dict[str, str] | None = None,
    failing: tuple[str, ...] = (),
    items: int = 99,
) -> ComparisonReport:
    names = NAMES if names is None else names
    gold = np.random.default_rng(7).integers(0, len(labels), items)
    data = DataSummary(
        source="reviews.csv",
        sha256={"reviews.csv": "0f" * 32},
        train=1300,
        dev=77,
        test=items,
        labels=labels,
        label_counts={label: 13 * (place + 3) for place, label in enumerate(labels)},
        notes=("17 duplicates were removed.",),
    )
    runs = [
        RunResult(candidate=name, seed=seed, failed="killed by the system")
        if name in failing
        else some_run(name, seed, gold, len(labels))
        for name in names
        for seed in range(seeds)
    ]
    infos = [CandidateInfo(name=name, kind=kind, description=f"what {name} is") for name, kind in names.items()]
    candidates = summarise(
        runs,
        candidates=infos,
        metric=classification_rankings(len(labels))["accuracy"],
        resamples=200,
        permutations=99,
    )
    texts = catalogue("zh" if language == "zh" else "en")
    advice = recommend(candidates, main_metric="accuracy", test_items=items, texts=texts)
    return ComparisonReport(
        schema_version=SCHEMA_VERSION,
        title="Reviews",
        task="text-classification",
        main_metric="accuracy",
        greater_is_better=True,
        evidence_columns=("gold_label", "predicted_label", "confidence"),
        data=data,
        candidates=candidates,
        recommended=advice.name,
        reasons=advice.reasons,
        budget="999 examples a run",
        command="albertine compare reviews.csv --seeds 3",
        machine={"processor": "some processor", "cores": "2"},
        created="2026-01-02T03:04:05Z",
        language=language,
    )


def page_of(report: ComparisonReport, folder: Path) -> tuple[str, Page]:
    write_report(report, folder)
    text = (folder / HTML_FILE).read_text(encoding="utf-8")
    return text, Page(text)


CASES = {
    "two labels": some_report(),
    "Chinese": some_report(language="zh", labels=CATEGORIES),
    "thirty labels": some_report(labels=tuple(f"intent {place}" for place in range(30)), items=300),
    "ninety labels": some_report(labels=tuple(f"intent {place}" for place in range(90)), items=900),
    "one candidate": some_report(names={"bert-tiny": "bert"}),
    "one seed": some_report(seeds=1),
    "one candidate fails": some_report(failing=("albert-tiny",)),
    "all fail": some_report(failing=tuple(NAMES)),
    "all fail, Chinese": some_report(failing=tuple(NAMES), language="zh"),
    "only a solver": some_report(names={"bag-of-words": "bag-of-words"}),
    "twelve candidates": some_report(names={f"model number {place:02d}": "encoder" for place in range(12)}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_well_formed_and_needs_nothing_from_outside(case: str, tmp_path: Path) -> None:
    text, page = page_of(CASES[case], tmp_path)
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"url\(|@import|<script|<link|<img|<iframe|<object", text)
    assert not any(name in attributes for _, attributes in page.tags for name in ("src", "srcset", "onclick", "data"))
    assert all(str(attributes["href"]).startswith("#") for attributes in page.of("a"))
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert {str(attributes["href"])[1:] for attributes in page.of("a")} <= set(identifiers)


@pytest.mark.parametrize("case", CASES)
def test_the_report_read_back_is_the_report_written(case: str, tmp_path: Path) -> None:
    write_report(CASES[case], tmp_path / "new" / "folder")
    assert read_report(tmp_path / "new" / "folder") == CASES[case]
    assert read_report(tmp_path / "new" / "folder" / JSON_FILE) == CASES[case]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_terminal_table_keeps_to_the_width(case: str, width: int) -> None:
    report = CASES[case]
    text = terminal_table(report, width=width, colour=False)
    assert "\x1b" not in text
    assert max(cell_len(line) for line in text.splitlines()) <= width
    if width == 160:
        assert all(any(candidate.name in line for line in text.splitlines()) for candidate in report.candidates)


def test_the_terminal_table_shows_quality_cost_and_recommendation() -> None:
    report = CASES["two labels"]
    text = terminal_table(report, width=160, colour=False)
    best = report.candidates[0]
    assert best.quality is not None
    line = next(line for line in text.splitlines() if re.match(rf" *(\* )?{best.name} ", line))
    assert f"{best.quality.value * 100:.1f}" in line
    assert "4.10\u00a0M" in line
    assert "9.10\u00a0M" in line
    assert f"Recommended: {report.recommended}" in text
    assert " ".join(report.reasons[0].split()) in " ".join(text.split())
    assert "\x1b[1m" in terminal_table(report, width=160, colour=True)


def test_names_are_not_read_as_markup_of_the_terminal() -> None:
    report = some_report(names={"[bold]x[/bold]": "encoder", "[/]": "encoder"})
    text = terminal_table(report, width=160, colour=False)
    assert "[bold]x[/bold]" in text
    assert "[/]" in text


def test_whatever_a_user_wrote_is_shown_as_text(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    report = some_report(labels=(evil, "</style>", "'&\""), names={f"{evil}{n}": "bert" for n in range(2)})
    data = replace(report.data, source=evil, notes=(evil,), sha256={evil: "00"})
    report = replace(report, title=evil, data=data, machine={evil: evil}, command=evil, budget=evil)
    text, page = page_of(report, tmp_path)
    assert "<script" not in text
    assert evil in page.texts_in("h1")
    assert page.texts_in("h1") == [evil]
    assert any(attributes.get("title") == evil for attributes in page.of("th"))
    assert read_report(tmp_path) == report


@pytest.mark.parametrize(("language", "tag"), [("en", "en"), ("zh", "zh-Hans")])
def test_the_page_is_in_the_language_of_the_report(language: str, tag: str, tmp_path: Path) -> None:
    _, page = page_of(some_report(language=language), tmp_path)
    assert page.of("html") == [{"lang": tag}]
    assert page.texts_in("h2") == [
        catalogue("zh" if language == "zh" else "en")(f"section.{name}")
        for name in ("recommendation", "numbers", "cost", "curves", "reliability", "confusion", "data", "method")
    ]


def test_the_recommendation_stands_first_with_its_reasons(tmp_path: Path) -> None:
    report = CASES["two labels"]
    text, _ = page_of(report, tmp_path)
    assert report.recommended is not None
    assert text.index(report.recommended, text.index("<main>")) < text.index('id="numbers"')
    assert all(f"<li>{reason}</li>" in text for reason in report.reasons)


def test_tables_and_charts_can_be_read_without_seeing_them(tmp_path: Path) -> None:
    _, page = page_of(CASES["Chinese"], tmp_path)
    assert all(attributes.get("scope") in {"row", "col", "colgroup"} for attributes in page.of("th"))
    for attributes in page.of("svg"):
        assert attributes.get("aria-hidden") == "true" or attributes.get("role") == "img"
    charts = [str(attributes["aria-labelledby"]).split() for attributes in page.of("svg") if "role" in attributes]
    identifiers = {attributes.get("id") for _, attributes in page.tags}
    # Two of quality against cost, learning curves of the two candidates that have some, and the three's reliability.
    assert len(charts) == 2 + 2 + 3
    assert all(name in identifiers for pair in charts for name in pair)


def test_charts_hold_names_as_text_and_a_line_a_seed(tmp_path: Path) -> None:
    report = CASES["Chinese"]
    _, page = page_of(report, tmp_path)
    labels = page.texts_in("text")
    assert all(labels.count(candidate.name) == 2 for candidate in report.candidates)
    paths = [str(attributes.get("class")) for attributes in page.of("path")]
    # Two candidates, quality and loss, three seeds each, and their mean; a line of reliability for each of the three.
    assert sum(name.startswith("seed") for name in paths) == 2 * 2 * 3
    assert sum(name.startswith("mean") for name in paths) == 2 * 2 + 3


def test_every_number_drawn_is_finite(tmp_path: Path) -> None:
    report = CASES["two labels"]
    first = report.candidates[-1]
    curve = (
        CurvePoint(step=1, examples=10, seconds=1, loss=float("nan"), dev_metric=0.5),
        CurvePoint(step=2, examples=20, seconds=2, loss=float("inf"), dev_metric=None),
        CurvePoint(step=3, examples=30, seconds=3, loss=0.7, dev_metric=0.6),
    )
    broken = replace(first, runs=tuple(replace(run, curve=curve) for run in first.runs))
    report = replace(report, candidates=(*report.candidates[:-1], broken))
    text, _ = page_of(report, tmp_path)
    assert not re.search(r"\b(nan|inf|NaN|Infinity)\b", text)
    json.loads((tmp_path / JSON_FILE).read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
    again = read_report(tmp_path).candidates[-1].runs[0].curve
    assert np.isnan(again[0].loss)
    assert again[2] == curve[2]


def test_confusion_matrices_add_up_over_the_seeds(tmp_path: Path) -> None:
    report = CASES["Chinese"]
    _, page = page_of(report, tmp_path)
    cells = [attributes for attributes in page.of("td") if attributes.get("class") in {"right", "right dark"}]
    assert len(cells) == len(report.candidates) * len(CATEGORIES)
    best = report.candidates[0]
    evidence = np.concatenate([np.array(run.evidence) for run in best.runs])
    gold = evidence[:, 0]
    hits = int(((evidence[:, 1] == 0) & (gold == 0)).sum())
    assert cells[0]["title"] == f"真实 书籍，预测 书籍：{hits} / {int((gold == 0).sum())}"


def test_many_labels_get_a_list_of_confusions_instead_of_a_matrix(tmp_path: Path) -> None:
    text, _ = page_of(CASES["ninety labels"], tmp_path)
    assert 'class="heat' not in text
    assert "most frequent confusions" in text
    assert 'class="heat tiny"' in page_of(CASES["thirty labels"], tmp_path)[0]


def test_the_matrices_of_the_best_candidates_only_are_drawn(tmp_path: Path) -> None:
    text, page = page_of(CASES["twelve candidates"], tmp_path)
    assert sum("heat" in str(attributes.get("class")) for attributes in page.of("table")) == 6
    assert "Shown for the 6 best candidates." in text


def test_failed_runs_are_listed_with_their_reason(tmp_path: Path) -> None:
    text, page = page_of(CASES["one candidate fails"], tmp_path)
    assert page.texts_in("code").count("killed by the system") == 3
    assert "3 of 3" in text


def test_the_json_document_is_compact_where_it_is_only_numbers() -> None:
    report = some_report(items=399)
    text = report_json(report)
    assert json.loads(text)["schema_version"] == 2
    assert len(text.splitlines()) < 1500
    tricky = replace(report, title="[\n1,\n2\n]", command="[ 1, 2 ]")
    assert json.loads(report_json(tricky))["title"] == "[\n1,\n2\n]"
    assert json.loads(report_json(tricky))["command"] == "[ 1, 2 ]"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no report"),
        ("{", "damaged"),
        ("[]", "another schema version"),
        ('{"schema_version": 99}', "another schema version"),
        ('{"schema_version": 2}', "damaged"),
        ('{"schema_version": 2, "titel": "x"}', "titel"),
    ],
)
def test_a_report_that_cannot_be_read_says_why(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / JSON_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_report(tmp_path)


def test_chinese_is_wrapped_between_characters_and_never_before_a_closing_mark() -> None:
    lines = wrapped("参数共享节省内存和磁盘，不减少计算量，因此 ALBERT 本身并不更快。", 20)
    assert all(cell_len(line) <= 20 for line in lines)
    assert not any(line[0] in "，。）" for line in lines)
    assert "".join(lines).replace(" ", "") == "参数共享节省内存和磁盘，不减少计算量，因此ALBERT本身并不更快。"
    assert wrapped("three short words", 11) == ["three short", "words"]
    assert wrapped("unbreakable", 3) == ["unbreakable"]


def test_a_reliability_diagram_shows_every_level_of_confidence_that_occurs(tmp_path: Path) -> None:
    text, page = page_of(CASES["two labels"], tmp_path)
    assert 'id="reliability"' in text
    charts = [attributes for attributes in page.of("svg") if "reliability-" in str(attributes.get("aria-labelledby"))]
    assert len(charts) == len(CASES["two labels"].candidates)
    run = CASES["two labels"].candidates[0].runs[0]
    right = np.mean([gold == predicted for gold, predicted, _ in run.evidence])
    assert f"{abs(right - 0.5) * 100:.0f}" in text  # all answers have a confidence of 0.5


def test_a_task_without_labels_has_neither_matrices_nor_diagrams(tmp_path: Path) -> None:
    one = CASES["two labels"]
    report = dataclasses.replace(
        one,
        task="question-answering",
        main_metric="exact_match",
        evidence_columns=("exact_match", "f1", "has_answer"),
        data=dataclasses.replace(one.data, labels=(), label_counts={}),
    )
    text, _ = page_of(report, tmp_path)
    assert 'id="confusion"' not in text
    assert 'id="reliability"' not in text
    assert "exact match" in text
    assert read_report(tmp_path) == report
