from __future__ import annotations

import sys
import unicodedata
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from albertine.data.cleaning import STEPS, Cleaner, CleaningChoices, CleaningReport, LineCounter, clean
from albertine.data.corpus import read_documents
from albertine.errors import ConfigError, MissingDependencyError

SHORT = CleaningChoices(minimum=0)

CASES = [
    ("entities", "Greg &amp; Steve &#8212; &#x4E2D; &nbsp;x", "Greg & Steve — 中 x"),
    ("entities", "a &amp;lt; b", "a < b"),
    ("entities", "http://x/?a=1&copy=2 &unknown; AT&T", "http://x/?a=1&copy=2 &unknown; AT&T"),
    ("markup", "<p>第一</p><p>第二</p>", "第一\n第二"),
    ("markup", "# 标题\n\n## 第二\n\n[链接](http://x.y) 和 **粗体**", "标题\n第二\n链接 和 粗体"),
    ("markup", "a < b > c # d", "a < b > c # d"),
    ("controls", "a\x07b\u200bc\ufeffd\xade\x9ff\u202eg", "abcdefg"),
    ("controls", "one\r\ntwo\rthree\u2028four\x85five\x0csix", "one\ntwo\nthree\nfour\nfive\nsix"),
    ("controls", "نمی‌خواهم 👩‍💻", "نمی‌خواهم 👩‍💻"),
    ("unicode", "cafe\u0301 e\u0301", "café é"),
    ("unicode", "全角，（标点）！ＡＢＣ", "全角，（标点）！ＡＢＣ"),
    ("spaces", "\u3000\u3000第一段\xa0end \n \n\n\tsecond  line ", "第一段 end\nsecond line"),
    ("spaces", "a\tb\u2009c", "a b c"),
    ("holes", "Chen (; born 1942) is", "Chen (born 1942) is"),
    ("holes", "《妄想女友》（）是（，）和 () or ( , ) 有「」的", "《妄想女友》是和 or 有的"),
    ("holes", "东京（，英语：Tokyo；）是", "东京（英语：Tokyo）是"),
    ("holes", "f(x, y) and (a; b) and :)", "f(x, y) and (a; b) and :)"),
    ("punctuation", "好！！！！！！ no...... ……………… ———— ------ ok!!!", "好！！！ no... …… —— --- ok!!!"),
    ("punctuation", "1111111 aaaaaaa 哈哈哈哈哈哈", "1111111 aaaaaaa 哈哈哈哈哈哈"),
    ("repeated-lines", "a\na\nb\na\nthis line is long enough to count\nb\nthis line is long enough to count", None),
]


@pytest.mark.parametrize(("step", "text", "cleaned"), CASES)
def test_every_step_does_its_work_and_leaves_the_rest(step: str, text: str, cleaned: str | None) -> None:
    cleaned = "a\nb\na\nthis line is long enough to count\nb" if cleaned is None else cleaned
    cleaner = Cleaner(SHORT)
    assert cleaner(text) == cleaned
    assert (step in cleaner.report.steps) is (text != cleaned)
    assert clean(cleaned, SHORT) == cleaned


def test_every_step_can_be_switched_off() -> None:
    off = CleaningChoices(
        mojibake=False,
        entities=False,
        markup="never",
        unicode=False,
        controls=False,
        spaces=False,
        holes=False,
        punctuation=False,
        repeated_lines=False,
        minimum=0,
    )
    for _, text, _ in CASES:
        assert clean(text, off) == text.strip()


MOJIBAKE = [
    ("schÃ¶n und groÃŸ", "schön und groß"),
    ("â€œquotedâ€\x9d â€” donâ€™t", "“quoted” — don’t"),
    ("æ–‡å­—åŒ–ã‘", None),
    ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚ Ð¼Ð¸Ñ€", "привет мир"),
    ("Â£5 and 20Â°C", "£5 and 20°C"),
]


@pytest.mark.parametrize(("text", "mended"), MOJIBAKE)
def test_wrongly_decoded_text_is_mended(text: str, mended: str | None) -> None:
    pytest.importorskip("ftfy")
    found = clean(f"clean line — 中文，标点。\n{text}", SHORT)
    first, last = found.split("\n")
    assert first == "clean line — 中文，标点。"
    assert last == mended or mended is None


@pytest.mark.parametrize(
    "text",
    [
        "Gérard Depardieu à l’âge de 20 ans — “naïve”…",
        "Привет, мир! Россия «Правда» — №5",
        "ÆØÅ æøå ÄÖÜ äöü ÁÉÍ ñ ¿qué?",
        "全角，标点。《书名》（括号）“引号”……——￥５０％",
        "Łódź, Çankaya, Škoda, Đà Nẵng",
        "20 °C, £5, €7, 10 µm, naïveté",
    ],
)
def test_text_that_only_looks_odd_is_not_touched(text: str) -> None:
    pytest.importorskip("ftfy")
    cleaner = Cleaner(SHORT)
    assert cleaner(text) == text
    assert cleaner.report.steps == {}


def test_a_missing_package_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opencc", None)
    with pytest.raises(MissingDependencyError, match=r"albertine\[zh\]"):
        Cleaner(CleaningChoices(simplified=True))


def test_traditional_characters_become_simplified_ones() -> None:
    pytest.importorskip("opencc")
    choices = CleaningChoices(simplified=True, minimum=0)
    assert (
        clean("東富山站是隸屬於日本的鐵路車站，乾淨的頭髮。", choices) == "东富山站是隶属于日本的铁路车站，干净的头发。"
    )
    assert clean("東富山站", SHORT) == "東富山站"


def test_short_documents_go_and_everything_is_counted() -> None:
    cleaner = Cleaner(CleaningChoices(minimum=10))
    texts = ["Greg &amp; Steve sing", "too short", "cafe\u0301 and a longer text", "", "nothing to be done here"]
    cleaned = [cleaner(text) for text in texts]
    assert cleaned == ["Greg & Steve sing", "", "café and a longer text", "", "nothing to be done here"]
    report = cleaner.report
    assert (report.documents, report.removed) == (5, 2)
    assert report.characters_before == sum(map(len, texts))
    assert report.characters_after == sum(map(len, cleaned))
    assert list(report.steps) == ["entities", "too-short", "unicode"]
    assert (report.steps["entities"].documents, report.steps["entities"].characters) == (1, 4)
    assert (report.steps["too-short"].documents, report.steps["too-short"].characters) == (1, 9)
    total = CleaningReport()
    total.add(report)
    total.add(report)
    assert (total.documents, total.steps["entities"].characters) == (10, 8)
    assert list(total.steps) == ["entities", "unicode", "too-short"]


def test_changes_of_equal_length_count_the_characters_that_differ() -> None:
    cleaner = Cleaner(SHORT)
    assert cleaner("a\xa0b\u3000c") == "a b c"
    assert cleaner.report.steps["spaces"].characters == 2


@pytest.mark.parametrize("choices", [{"markup": "some"}, {"minimum": -1}])
def test_choices_that_do_not_exist_are_refused(choices: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        CleaningChoices(**choices)  # type: ignore[arg-type]


@example(text=";\n() ;")
@example(text="a()\u0301")
@given(st.text(alphabet="ab 中，。()（）「」<>p/#*&;\n\t\xa0\u3000\x07\u0301!！.…\u200b", max_size=60))
@settings(max_examples=1000, deadline=None)
def test_clean_text_holds_no_bad_characters(text: str) -> None:
    cleaned = clean(text, CleaningChoices(mojibake=False, minimum=0))
    assert cleaned == cleaned.strip()
    assert not any(bad in cleaned for bad in ("\n\n", "  ", " \n", "\n ", "\t", "\xa0", "\u3000", "\x07", "\u200b"))
    assert unicodedata.is_normalized("NFC", cleaned)


def test_lines_of_many_documents_are_found_and_left_out() -> None:
    counter = LineCounter()
    texts = [f"Text number {number}.\nExternal links.\nExternal links.\n{'long ' * 30}" for number in range(60)]
    for text in texts:
        counter.add(text)
    frequent = counter.frequent(documents=50)
    assert frequent == {"External links.": 60}
    assert counter.frequent(documents=50, share=1.1) == {}
    cleaner = Cleaner(SHORT, boilerplate=frequent)
    assert cleaner(texts[7]).split("\n")[:2] == ["Text number 7.", ("long " * 30).strip()]
    assert cleaner.report.steps["boilerplate"].documents == 1


def test_the_table_of_lines_is_bounded_and_frequent_ones_survive() -> None:
    counter = LineCounter(capacity=100)
    for number in range(2000):
        counter.add(f"only here {number}\nand here {number}\n" + ("often\n" if number % 5 == 0 else ""))
        assert len(counter._counts) <= 100
    assert counter.passes > 0
    frequent = counter.frequent(documents=200)
    assert list(frequent) == ["often"]
    assert 400 - counter.passes <= frequent["often"] <= 400


def test_counts_are_never_too_high_even_when_parts_were_bounded() -> None:
    counters = [LineCounter(capacity=60), LineCounter(capacity=60)]
    for number in range(3000):
        counters[number % 2].add(f"only here {number}\n" + ("often" if number % 3 == 0 else f"rare {number // 30}"))
    counters[0].merge(counters[1])
    frequent = counters[0].frequent(documents=300, share=0.0)
    assert list(frequent) == ["often"]
    assert 1000 - counters[0].passes <= frequent["often"] <= 1000
    assert all(count <= 20 for line, count in counters[0].frequent(documents=1, share=0.0).items() if line != "often")


def test_counts_of_parts_add_up() -> None:
    whole, parts = LineCounter(), [LineCounter(), LineCounter()]
    for number in range(100):
        text = f"a\nb{number % 7}"
        whole.add(text)
        parts[number >= 37].add(text)
    parts[0].merge(parts[1])
    assert parts[0].frequent(documents=2) == whole.frequent(documents=2)
    assert parts[0].documents == 100


@pytest.mark.parametrize("name", ["en_wiki_0", "zh_wiki_0", "zh_laws", "zh_lctt", "zh_xinwenlianbo"])
def test_the_shared_corpora_come_out_clean(data_dir: Path, name: str) -> None:
    cleaner = Cleaner(CleaningChoices(mojibake=False))
    path = data_dir / "corpus" / f"{name}.txt.xz"
    texts = [cleaner(document.text) for document in islice(read_documents([path]), 150)]
    kept = [text for text in texts if text]
    assert not any(
        bad in text for text in kept for bad in ("<p>", "<strong>", "<!--", "](http", "\n\n", "\u3000", "（）")
    )
    assert not any(line.startswith(("## ", "[#]:", "# 上海", "# 《")) for text in kept for line in text.split("\n"))
    report = cleaner.report
    assert report.characters_after > 0.5 * report.characters_before
    assert set(report.steps) <= set(STEPS)
    assert (report.removed > 0) == ("wiki" in name)
