"""Files of tagged texts: columns in every scheme, JSON with spans, CLUENER's form."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from albertine.data.columns import Columns
from albertine.data.results import ReadResult
from albertine.data.samples import load_splits
from albertine.data.tagging import TAGGED_TEXTS, read_tagged_texts
from albertine.errors import ConfigError, DataError
from albertine.records import Example


def written(folder: Path, content: str, name: str = "data.conll") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def read(folder: Path, content: str, name: str = "data.conll", **options: object) -> ReadResult:
    return read_tagged_texts(written(folder, content, name), **options)  # type: ignore[arg-type]


def column_file(*sentences: str, divider: str = "\t") -> str:
    """Write sentences of `token/tag` as columns."""
    return "\n\n".join(
        "\n".join(divider.join(pair.rsplit("/", 1)) for pair in sentence.split(" ")) for sentence in sentences
    )


def said(example: Example) -> list[tuple[str, str]]:
    """Return the pieces of the text that the spans name, after looking that they name them rightly."""
    assert example.spans is not None
    for span in example.spans:
        assert example.text[span.start : span.end] == span.text
    return [(span.text, span.label) for span in example.spans]


def joined_notes(result: ReadResult) -> str:
    return " | ".join(result.notes)


# --- columns


def test_words_are_joined_with_blanks_and_spans_are_places_in_the_text(tmp_path: Path) -> None:
    result = read(tmp_path, column_file("Ada/B-PER Lovelace/I-PER met/O Babbage/B-PER ./O", "So/O it/O is/O"))
    first, second = result.examples
    assert first.text == "Ada Lovelace met Babbage ."
    assert said(first) == [("Ada Lovelace", "PER"), ("Babbage", "PER")]
    assert [(span.start, span.end) for span in first.spans or ()] == [(0, 12), (17, 24)]
    assert second.spans == ()
    assert (first.line, second.line) == (1, 7)
    assert result.columns == Columns(text="1", label="2")


@pytest.mark.parametrize("divider", ["\t", " ", "      "])
def test_tabs_blanks_and_aligned_columns_read_alike(tmp_path: Path, divider: str) -> None:
    result = read(tmp_path, column_file("Ada/B-PER sang/O", divider=divider))
    assert said(result.examples[0]) == [("Ada", "PER")]


def test_four_columns_take_the_first_and_the_last_or_those_asked_for(tmp_path: Path) -> None:
    content = "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\nGerman JJ B-NP B-MISC\n"
    result = read(tmp_path, content)
    assert said(result.examples[0]) == [("EU", "ORG"), ("German", "MISC")]
    result = read(tmp_path, content, columns=Columns(text="1", label="3"))
    assert said(result.examples[0]) == [("EU", "NP"), ("rejects", "VP"), ("German", "NP")]
    with pytest.raises(DataError, match=r"no such column.*Received: 5"):
        read(tmp_path, content, columns=Columns(text="1", label="5"))
    with pytest.raises(ConfigError, match="numbers"):
        read(tmp_path, content, columns=Columns(text="token"))
    with pytest.raises(DataError, match=r"column 2 of 4 holds no tags.*--label-column"):
        read(tmp_path, content, columns=Columns(text="1", label="2"))


def test_chinese_characters_are_joined_without_blanks_whatever_stands_between_them(tmp_path: Path) -> None:
    text = "他2008年在NBA打过7.7分"
    tags = dict.fromkeys(range(len(text)), "O") | {1: "B-YEAR", 2: "I-YEAR", 3: "I-YEAR", 4: "I-YEAR"}
    tags |= {7: "B-ORG", 8: "I-ORG", 9: "I-ORG", 12: "B-N", 13: "I-N", 14: "I-N"}
    content = "\n".join(f"{character}\t{tags[place]}" for place, character in enumerate(text))
    result = read(tmp_path, content)
    assert result.examples[0].text == text
    assert said(result.examples[0]) == [("2008", "YEAR"), ("NBA", "ORG"), ("7.7", "N")]
    assert "without blanks" in joined_notes(result)


def test_words_among_chinese_characters_stay_apart_from_each_other_only(tmp_path: Path) -> None:
    result = read(tmp_path, column_file("做/O CT/B-T scan/I-T 检/O 查/O 2008/O 年/O"))
    assert result.examples[0].text == "做CT scan检查2008年"
    assert said(result.examples[0]) == [("CT scan", "T")]


def test_a_few_chinese_words_in_english_change_nothing_else(tmp_path: Path) -> None:
    english = "I/O saw/O it/O on/O the/O way/O to/O the/O town/O hall/O"
    result = read(tmp_path, column_file(english, "we/O love/O 北/B-LOC 京/I-LOC a/O lot/O 2/O 3/O"))
    assert result.examples[1].text == "we love 北京 a lot 2 3"
    assert said(result.examples[1]) == [("北京", "LOC")]


@pytest.mark.parametrize("blank", [" ", "\u3000"])
@pytest.mark.parametrize("divider", ["\t", " "])
def test_a_token_may_itself_be_a_blank(tmp_path: Path, blank: str, divider: str) -> None:
    lines = [f"{token}{divider}{tag}" for token, tag in (("周", "B-n"), (blank, "I-n"), ("杰", "I-n"), ("唱", "O"))]
    result = read(tmp_path, "\n".join(lines))
    assert result.examples[0].text == f"周{blank}杰唱"
    assert said(result.examples[0]) == [(f"周{blank}杰", "n")]


def test_blanks_at_the_ends_of_a_span_are_left_out_and_counted(tmp_path: Path) -> None:
    result = read(tmp_path, "在\tO\n\u3000\tB-n\n周\tI-n\n唱\tO")
    assert said(result.examples[0]) == [("周", "n")]
    assert "1 spans began or ended with a blank" in joined_notes(result)


def test_underscores_and_types_with_dashes(tmp_path: Path) -> None:
    result = read(tmp_path, column_file("手/B_body 术/I_body 后/O", "a/O song/B-creative-work x/O"))
    assert [said(example) for example in result.examples] == [[("手术", "body")], [("song", "creative-work")]]


def test_documents_and_metadata_are_passed_over_and_hashes_in_a_text_are_not(tmp_path: Path) -> None:
    content = "-DOCSTART- -X- O\n\n# id = 7\n# text = see # this\nsee O\n# O\nthis B-X\n\n#tag B-X\n= O\n\n# O\n"
    result = read(tmp_path, content)
    assert [example.text for example in result.examples] == ["see # this", "#tag =", "#"]
    assert said(result.examples[1]) == [("#tag", "X")]
    assert result.examples[0].line == 5
    assert "1 -DOCSTART- lines" in joined_notes(result)
    assert "2 lines of metadata" in joined_notes(result)


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("B-A I-A O B-A", "BIO"),
        ("B-A E-A O S-A", "BIOES"),
        ("B-A L-A O U-A", "BIOES (written with B, L, U)"),
        ("B-A E-A O S-A M-A", "BIOES (written with B, E, M, S)"),
        ("I-A I-A O I-A", "IO"),
        ("A A O A", "IO"),
    ],
)
def test_schemes_are_told_apart(tmp_path: Path, tags: str, scheme: str) -> None:
    words = [f"w{place}/{tag}" for place, tag in enumerate(tags.split(" "))]
    result = read(tmp_path, column_file(" ".join(words)))
    assert said(result.examples[0])[:2] == [("w0 w1", "A"), ("w3", "A")]
    assert f"the tags are {scheme} |" in joined_notes(result) + " |"


def test_old_bio_needs_no_repair(tmp_path: Path) -> None:
    result = read(tmp_path, column_file("a/I-A b/I-A c/B-A d/O e/I-B", "f/I-B g/O"))
    assert said(result.examples[0]) == [("a b", "A"), ("c", "A"), ("e", "B")]
    assert "IOB1" in joined_notes(result)
    assert "repaired" not in joined_notes(result)


def test_bare_letters_are_spans_of_one_type(tmp_path: Path) -> None:
    result = read(tmp_path, column_file("a/B b/I c/O d/B"))
    assert said(result.examples[0]) == [("a b", "entity"), ("d", "entity")]


def test_repairs_are_counted_by_kind_with_the_first_line(tmp_path: Path) -> None:
    result = read(tmp_path, column_file("a/B-A b/I-A c/O", "d/O e/I-A f/I-B g/O", "h/O i/I-A"))
    assert [said(example) for example in result.examples] == [[("a b", "A")], [("e", "A"), ("f", "B")], [("i", "A")]]
    notes = joined_notes(result)
    assert "I- that follows on nothing begins a span: 2, the first in line 6" in notes
    assert "I- or E- of another type than the tag before begins a span: 1, the first in line 7" in notes


def test_two_schemes_in_one_file_are_both_read(tmp_path: Path) -> None:
    result = read(tmp_path, column_file("a/B-A b/I-A c/O", "d/B-A e/E-A f/S-A g/E-A"))
    assert [said(example) for example in result.examples] == [
        [("a b", "A")],
        [("d e", "A"), ("f", "A"), ("g", "A")],
    ]
    notes = joined_notes(result)
    assert "the tags are BIOES" in notes
    assert "whose last tag is B- or I-, as in BIO, ends there: 1, the first in line 2" in notes
    assert "E- that follows on nothing is a span of its own: 1, the first in line 8" in notes


def test_a_line_with_other_columns_is_named_and_its_sentence_left_out(tmp_path: Path) -> None:
    content = column_file("a/B-A b/O", "c/O d/O") + "\ne\nf\tx\tO\n\ng\tO\n"
    with pytest.raises(DataError, match=r"data\.conll:6: 1 column where 2 are expected \(the only bad row among 3\)"):
        read(tmp_path, content)
    result = read(tmp_path, content, on_error="skip")
    assert [example.text for example in result.examples] == ["a b", "g"]
    assert [(row.kind, row.line) for row in result.bad_rows] == [("fields", 6)]
    assert "1 of 3 rows left out (fields 1)" in joined_notes(result)


def test_a_tag_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.conll:2: '0' is no tag"):
        read(tmp_path, column_file("a/B-A b/0 c/O"))


def test_empty_tokens_are_counted_and_an_empty_sentence_is_a_bad_row(tmp_path: Path) -> None:
    content = "a\tO\n\tO\nb\tB-A\n\n\tO\n\nc\tO\n"
    with pytest.raises(DataError, match=r"data\.conll:5: the text is empty"):
        read(tmp_path, content)
    result = read(tmp_path, content, on_error="skip")
    assert [example.text for example in result.examples] == ["a b", "c"]
    assert "1 tokens are empty; the first in line 2" in joined_notes(result)


def test_tokens_without_tags_are_read_where_none_are_needed(tmp_path: Path) -> None:
    content = "a\nb\n\nc\n"
    with pytest.raises(DataError, match="there are no tags"):
        read(tmp_path, content)
    result = read(tmp_path, content, labelled=False)
    assert [(example.text, example.spans) for example in result.examples] == [("a b", None), ("c", None)]
    result = read(tmp_path, "a\tDT\nb\tNN\n", labelled=False)
    assert result.examples[0].spans is None


def test_old_line_ends_and_packed_files(tmp_path: Path) -> None:
    assert said(read(tmp_path, "a\tB-A\r\nb\tO\r\n").examples[0]) == [("a", "A")]
    path = tmp_path / "data.conll.gz"
    path.write_bytes(gzip.compress(b"a\tB-A\nb\tO\n"))
    assert said(read_tagged_texts(path).examples[0]) == [("a", "A")]


def test_damaged_bytes_are_named_and_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "data.conll"
    good = "".join(f"词{place}\tO\n\n" for place in range(100)).encode()
    path.write_bytes(b"a\xff\tB-A\nb\tO\n\n" + good)
    with pytest.raises(DataError, match=r"data\.conll:1.*byte 0xff"):
        read_tagged_texts(path)
    result = read_tagged_texts(path, on_error="skip")
    assert len(result.examples) == 100
    assert [row.kind for row in result.bad_rows] == ["encoding"]


# --- JSON


def lines(*rows: object) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def test_json_lines_with_spans(tmp_path: Path) -> None:
    content = lines(
        {"id": 7, "text": "Ada met Bob", "spans": [{"start": 8, "end": 11, "label": "PER"}, [0, 3, "PER"]]},
        {"text": "nobody", "spans": []},
    )
    result = read(tmp_path, content, "data.jsonl")
    assert said(result.examples[0]) == [("Ada", "PER"), ("Bob", "PER")]
    assert result.examples[0].identifier == "7"
    assert result.examples[1].spans == ()
    assert [example.line for example in result.examples] == [1, 2]
    assert result.columns == Columns(text="text", label="spans")
    # the name does not say what it is
    assert said(read(tmp_path, content, "data").examples[0]) == [("Ada", "PER"), ("Bob", "PER")]
    assert len(read(tmp_path, json.dumps([json.loads(content.split("\n")[0])], indent=1), "data.json").examples) == 1


CLUENER = {
    "text": "台湾的发卡模式，台湾银行",
    "label": {"address": {"台湾": [[0, 1]]}, "company": {"台湾银行": [[8, 11]]}},
}


def test_cluener_names_the_last_character_and_may_be_printed_over_many_lines(tmp_path: Path) -> None:
    content = (
        json.dumps(CLUENER, ensure_ascii=False, indent=2) + "\n" + json.dumps({"text": "无", "label": {}}, indent=2)
    )
    result = read(tmp_path, content, "data.json")
    assert said(result.examples[0]) == [("台湾", "address"), ("台湾银行", "company")]
    assert result.examples[1].spans == ()
    assert result.examples[1].line > 10
    repeated = {"text": "曼联对曼联", "label": {"team": {"曼联": [[0, 1], [3, 4]]}}}
    assert said(read(tmp_path, lines(repeated), "data.jsonl").examples[0]) == [("曼联", "team")] * 2


@pytest.mark.parametrize(
    ("spans", "kind", "reason"),
    [
        ([[0, 40, "A"]], "spans", "a span from 0 to 40 in a text of 11 characters"),
        ([[-1, 3, "A"]], "spans", "a span from -1 to 3"),
        ([[3, 3, "A"]], "spans", "the span from 3 to 3 is empty"),
        ([[3, 4, "A"]], "spans", "the span from 3 to 4 is empty"),
        ([[5, 3, "A"]], "spans", "a span from 5 to 3"),
        ([[0, 5, "A"], [4, 7, "B"]], "spans", "two spans overlap: 'Ada m' at 0, 'met' at 4"),
        (
            [{"start": 0, "end": 2, "label": "A", "text": "Ada"}],
            "spans",
            "'Ad', not 'Ada'; the end may be meant as the last",
        ),
        ([{"start": 0, "end": 3}], "type", "a span needs two whole numbers and a label"),
        ([{"start": "0", "end": 3, "label": "A"}], "type", "two whole numbers"),
        ([[True, 3, "A"]], "type", "two whole numbers"),
        ([[0, 3]], "type", r"a span is \{start, end, label\}"),
        ("none", "type", "the spans are a str, not a list"),
        (None, "no-label", "the spans are missing"),
        ({"A": {"Ada": [[1, 3]]}}, "spans", "stands 'da ', not 'Ada'"),
        ({"A": {"Ada": [[0]]}}, "type", r"\[start, end\] is needed"),
        ({"A": [[0, 2]]}, "type", "an object"),
    ],
)
def test_spans_that_are_none_are_named_and_can_be_left_out(
    tmp_path: Path, spans: object, kind: str, reason: str
) -> None:
    content = lines({"text": "fine", "spans": []}, {"text": "Ada met Bob", "spans": spans})
    with pytest.raises(DataError, match=rf"data\.jsonl:2: .*{reason}"):
        read(tmp_path, content, "data.jsonl")
    result = read(tmp_path, content, "data.jsonl", on_error="skip")
    assert len(result.examples) == 1
    assert [(row.kind, row.line) for row in result.bad_rows] == [(kind, 2)]


def test_texts_that_are_none_are_named(tmp_path: Path) -> None:
    rows = [
        {"text": "fine", "spans": []},
        {"text": " ", "spans": []},
        {"text": 3, "spans": []},
        {"text": "\ud800", "spans": []},
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join([*(json.dumps(row) for row in rows), "{not json"]), encoding="utf-8")
    result = read_tagged_texts(path, on_error="skip")
    assert [row.kind for row in result.bad_rows] == ["empty-text", "type", "encoding", "json"]


def test_texts_without_spans_are_read_where_none_are_needed(tmp_path: Path) -> None:
    content = lines({"id": 0, "text": "a"}, {"id": 1, "text": "b"})
    with pytest.raises(DataError, match=r"the spans cannot be found.*spans, entities.*--label-column"):
        read(tmp_path, content, "data.jsonl")
    result = read(tmp_path, content, "data.jsonl", labelled=False)
    assert [example.spans for example in result.examples] == [None, None]
    # an answer to another question is none to this one
    for answer in ({"label": "good"}, {"labels": ["good", "cheap"]}):
        result = read(tmp_path, lines({"text": "a", **answer}), "data.jsonl", labelled=False)
        assert result.examples[0].spans is None


def test_keys_can_be_named(tmp_path: Path) -> None:
    content = lines({"body": "Ada", "names": [[0, 3, "PER"]]})
    result = read(tmp_path, content, "data.jsonl", columns=Columns(text="body", label="names"))
    assert said(result.examples[0]) == [("Ada", "PER")]
    with pytest.raises(DataError, match=r"the text cannot be found.*body, names"):
        read(tmp_path, content, "data.jsonl")


def test_other_kinds_of_files_and_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not read from Parquet"):
        read(tmp_path, "PAR1....", "data.parquet")
    with pytest.raises(DataError, match="the file is empty"):
        read(tmp_path, " \n", "data.conll")
    with pytest.raises(ConfigError, match="on_error"):
        read(tmp_path, "a\tO", on_error="ignore")


# --- splitting


def test_repeated_sentences_stay_on_one_side_and_contradictions_are_seen(tmp_path: Path) -> None:
    sentences = [f"w{place}/B-A is/O here/O" for place in range(40)]
    again = ["w3/B-A is/O here/O", "w5/O is/O here/B-A"]
    splits = load_splits(written(tmp_path, column_file(*sentences, *again)), format=TAGGED_TEXTS)
    sides = [{example.text for example in part} for part in (splits.train, splits.dev, splits.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 40
    assert splits.labels == ("A",)
    assert splits.counts.conflicting == 1


def test_a_type_that_train_does_not_have_is_a_bad_row_of_test(tmp_path: Path) -> None:
    written(tmp_path, column_file(*(f"w{place}/B-A x/O" for place in range(20))), "train.txt")
    written(tmp_path, column_file("v/B-A x/O", "u/B-B x/O"), "test.txt")
    with pytest.raises(DataError, match="B"):
        load_splits(tmp_path, format=TAGGED_TEXTS)
    splits = load_splits(tmp_path, format=TAGGED_TEXTS, on_error="skip")
    assert [example.text for example in splits.test] == ["v x"]


def test_a_test_file_without_tags_is_not_used(tmp_path: Path) -> None:
    written(tmp_path, column_file(*(f"w{place}/B-A x/O" for place in range(40))), "train.txt")
    written(tmp_path, column_file("v/B-A x/O", "u/O x/O"), "dev.txt")
    written(tmp_path, "v\nw\n\nx\n", "test.txt")
    splits = load_splits(tmp_path, format=TAGGED_TEXTS)
    assert [example.text for example in splits.test] == ["v x", "u x"]


# --- real files


@pytest.mark.parametrize(
    ("name", "sentences", "spans"),
    [
        ("tag/wnut17/wnut17train.conll", 3_394, {"person": 660, "location": 548, "group": 264}),
        ("tag/wnut17/emerging.dev.conll", 1_009, {"person": 470, "product": 114}),
        ("tag/cluener/dev.json", 1_343, {}),
        ("dirty/cmedqaner/dev.txt", 175, {"disease": 332, "body": 203}),
    ],
)
def test_real_files_are_read_whole(data_dir: Path, name: str, sentences: int, spans: dict[str, int]) -> None:
    result = read_tagged_texts(data_dir / name)
    assert len(result.examples) == sentences
    counts = Counter(label for example in result.examples for _, label in said(example))
    assert {label: counts[label] for label in spans} == spans
    assert len(counts) in (6, 10, 11)


def test_the_one_row_with_spans_that_overlap_is_named_or_left_out(data_dir: Path) -> None:
    path = data_dir / "tag/cluener/train.json.xz"
    with pytest.raises(DataError, match=r"train\.json\.xz:33055: two spans overlap.*the only bad row among 10748"):
        read_tagged_texts(path)
    result = read_tagged_texts(path, on_error="skip")
    assert len(result.examples) == 10_747
    assert len({label for example in result.examples for _, label in said(example)}) == 10


def test_characters_that_are_blanks_are_kept(data_dir: Path) -> None:
    result = read_tagged_texts(data_dir / "dirty/cmedqaner/dev.txt")
    assert sum(example.text.count("\u3000") for example in result.examples) == 13
    assert sum(len(example.text) for example in result.examples) == 15_025


def test_a_torn_tweet_is_read_and_a_sentence_of_an_empty_token_is_named(data_dir: Path) -> None:
    path = data_dir / "dirty/btc/h.conll"
    with pytest.raises(DataError, match=r"h\.conll:\d+: the text is empty"):
        read_tagged_texts(path)
    result = read_tagged_texts(path, on_error="skip")
    assert {row.kind for row in result.bad_rows} == {"empty-text"}
    assert any("ke s re y u R AD t" in example.text for example in result.examples)
    counts = Counter(label for example in result.examples for _, label in said(example))
    assert (counts["PER"], counts["LOC"], counts["ORG"]) == (2_323, 309, 736)


def test_a_file_of_two_million_characters(data_dir: Path) -> None:
    result = read_tagged_texts(data_dir / "tag/dh_msra/dh_msra.zip")
    assert len(result.examples) == 55_289
    counts = Counter(span.label for example in result.examples for span in example.spans or ())
    # 17 of them begin with I-
    assert counts == {"LOC": 39_394, "ORG": 21_902 + 3, "PER": 19_588 + 14}
    assert "I- that follows on nothing begins a span: 17, the first in line 739284" in joined_notes(result)
    assert not any(" " in example.text for example in result.examples[:1000])
