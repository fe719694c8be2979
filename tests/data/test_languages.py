from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertine.data.corpus import read_documents
from albertine.data.languages import (
    LanguageChoices,
    LanguageFilter,
    LanguageReport,
    guess_language,
    language_shares,
    script_shares,
)
from albertine.errors import ConfigError


def test_shares_count_every_script_once() -> None:
    shares = script_shares("汉字𠀀々 ab дж かキ 한 שλ 12٣ ，.!")
    assert (shares.han, shares.latin, shares.cyrillic) == pytest.approx((4 / 16, 2 / 16, 2 / 16))
    assert (shares.kana, shares.hangul, shares.other, shares.digits) == pytest.approx((2 / 16, 1 / 16, 2 / 16, 3 / 16))


@pytest.mark.parametrize("text", ["", " \n", "。，!?", "😀"])
def test_a_text_without_letters_has_no_shares(text: str) -> None:
    shares = script_shares(text)
    assert shares.han + shares.latin + shares.cyrillic + shares.kana + shares.hangul + shares.other == 0
    assert guess_language(text) == "other"


@given(st.text(max_size=60))
def test_shares_are_between_nothing_and_all(text: str) -> None:
    shares = language_shares(text)
    values = [shares.zh, shares.en, shares.other]
    assert all(0 <= value <= 1 for value in values)
    assert sum(values) == pytest.approx(1) or sum(values) == 0


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("口岸工作的领导，统筹推进。", "zh"),
        ("東富山站是隸屬於日本貨物鐵道的鐵路車站。", "zh"),
        ("使用 Python 的 asyncio 模块编写并发代码", "zh"),
        ("略称为“ビーバー”，是2005年组成的日本摇滚乐团，由四名成员构成。", "zh"),
        ("She was the first of them to win it, and he had not seen that.", "en"),
        ("Hello world", "en"),
        ("The café in Zürich is where the naïve José met her.", "en"),
        ("Der Hund ist in dem Haus, und die Katze sitzt auf dem Tisch.", "other"),
        ("Le chat est sur la table et il ne veut pas descendre pour manger.", "other"),
        ("El perro está en la casa y los gatos duermen en el tejado.", "other"),
        ("これは日本語の文章です。東京へ行きました。", "other"),
        ("Привет, мир", "other"),
        ("한국어 문장", "other"),
        ("2024 12345", "other"),
    ],
)
def test_the_language_is_told_by_script_and_function_words(text: str, language: str) -> None:
    assert guess_language(text) == language


def test_a_mixed_text_has_shares_of_both() -> None:
    shares = language_shares("这是一段中文。" * 5 + "This is the English part of it. " * 5)
    assert 0.3 < shares.en < 0.7
    assert shares.zh + shares.en == pytest.approx(1)


def test_a_long_text_is_judged_by_samples_from_all_of_it() -> None:
    english = "She was the first of them to win it, and he had not seen that. " * 200
    assert guess_language("Lorem ipsum dolor sit amet. " * 30 + english) == "en"


def test_the_filter_keeps_one_language_and_counts_all() -> None:
    keep = LanguageFilter(LanguageChoices(keep="zh", share=0.6))
    texts = [
        "这是中文文本。",
        "This is the English text.",
        "Это текст.",
        "中文 with some English words in the text of it",
    ]
    assert [keep(text) for text in texts] == [True, False, False, False]
    assert dict(keep.report.documents) == {"zh": 1, "en": 2, "other": 1}
    assert (keep.report.removed, keep.report.characters["zh"]) == (3, 7)
    total = LanguageReport()
    total.add(keep.report)
    total.add(keep.report)
    assert (total.documents["en"], total.removed) == (4, 6)


def test_without_a_language_everything_is_kept() -> None:
    keep = LanguageFilter()
    assert all(keep(text) for text in ("中文", "the English", "текст", "123"))


@pytest.mark.parametrize("choices", [{"keep": "fr"}, {"keep": "en", "share": 0.0}, {"share": 1.5}])
def test_choices_out_of_range_are_refused(choices: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        LanguageChoices(**choices)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "language"), [("en_wiki_1", "en"), ("zh_wiki_1", "zh"), ("zh_lctt", "zh")])
def test_real_documents_are_in_the_language_of_their_corpus(data_dir: Path, name: str, language: str) -> None:
    keep = LanguageFilter(LanguageChoices(keep=language))  # type: ignore[arg-type]
    for document in islice(read_documents([data_dir / "corpus" / f"{name}.txt.xz"]), 500):
        keep(document.text)
    # Articles on programming hold much code and many English names.
    assert keep.report.removed < (0.06 if name == "zh_lctt" else 0.03) * 500
