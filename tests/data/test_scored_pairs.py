"""Scored pairs and what else similarity is learnt from, in every shape that a file may have."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from albertine.data.columns import Columns
from albertine.data.formats import DataFormat
from albertine.data.results import ReadResult
from albertine.data.samples import load_splits
from albertine.data.scored_pairs import read_scored_pairs, scored_pairs, text_key
from albertine.data.splitting import connected
from albertine.errors import DataError
from albertine.records import Example


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(result: ReadResult) -> list[tuple[str, str | None, float | None, int]]:
    assert all(one.label is None for one in result.examples)
    return [(one.text, one.text_pair, one.value, one.line) for one in result.examples]


# --- scores


def test_two_texts_and_a_score_of_any_range(tmp_path: Path) -> None:
    path = written(tmp_path, "sts.csv", "text_a,text_b,score\na cat,the cat,4.75\nhe eats,a house,0\n")
    result = read_scored_pairs(path)
    assert rows(result) == [("a cat", "the cat", 4.75, 2), ("he eats", "a house", 0.0, 3)]
    assert result.columns == Columns(text="text_a", text_pair="text_b", label="score")
    assert any("'score'" in note for note in result.notes)


def test_labels_of_zero_and_one_are_scores(tmp_path: Path) -> None:
    path = written(tmp_path, "pairs.jsonl", "\n".join(
        json.dumps({"sentence1": "a", "sentence2": "b", "label": label}) for label in (1, 0, True, "false")
    ))  # fmt: skip
    assert [one.value for one in read_scored_pairs(path).examples] == [1.0, 0.0, 1.0, 0.0]


def test_the_score_is_found_among_many_columns(tmp_path: Path) -> None:
    head = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
    row = '0\tmain\tvid\t2012\t0001\tnone\tnone\tA "plane takes off.\tAn air plane.\t5.000\n'
    assert rows(read_scored_pairs(written(tmp_path, "train.tsv", head + row))) == [
        ('A "plane takes off.', "An air plane.", 5.0, 2)
    ]


def test_a_score_stands_before_a_label(tmp_path: Path) -> None:
    path = written(tmp_path, "both.csv", "text_a,text_b,label,score\na,b,1,3.5\n")
    assert [one.value for one in read_scored_pairs(path).examples] == [3.5]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "怎么开\t如何开\t1\n你好\t再见\t0\n"),
        ("b.csv", "怎么开,如何开,1\n你好,再见,0\n"),
        ("c.tsv", "1\t怎么开\t如何开\n0\t你好\t再见\n"),
    ],
)
def test_three_columns_without_a_header_are_recognised_by_the_number(tmp_path: Path, name: str, text: str) -> None:
    result = read_scored_pairs(written(tmp_path, name, text))
    assert rows(result) == [("怎么开", "如何开", 1.0, 1), ("你好", "再见", 0.0, 2)]
    assert any("no header" in note for note in result.notes)


def test_columns_may_be_given_by_number(tmp_path: Path) -> None:
    path = written(tmp_path, "test.tsv", "main\tMSRvid\t2012\t24\t2.500\tA girl.\tA boy.\n")
    result = read_scored_pairs(path, columns=Columns(text="6", text_pair="7", label="5"))
    assert rows(result) == [("A girl.", "A boy.", 2.5, 1)]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("good", "'good' is not a number"),
        ("", "missing"),
        ("nan", "missing"),
        ("inf", "not finite"),
        ("7", "between 0 and 5"),
    ],
)
def test_a_score_that_is_none_names_its_line(tmp_path: Path, cell: str, reason: str) -> None:
    path = written(tmp_path, "sts.csv", f"text_a,text_b,score\na,b,1\nc,d,{cell}\n")
    with pytest.raises(DataError, match=rf"sts\.csv:3: .*{reason}"):
        read_scored_pairs(path, lowest=0, highest=5)
    result = read_scored_pairs(path, lowest=0, highest=5, on_error="skip")
    assert rows(result) == [("a", "b", 1.0, 2)]
    assert [row.line for row in result.bad_rows] == [3]
    assert reason in result.bad_rows[0].reason


def test_without_a_need_for_scores_those_that_are_there_are_taken(tmp_path: Path) -> None:
    path = written(tmp_path, "sts.csv", "text_a,text_b,score\na,b,1\nc,d,\ne,f,soon\n")
    assert [one.value for one in read_scored_pairs(path, labelled=False).examples] == [1.0, None, None]


def test_an_unknown_column_beside_pairs_is_not_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, "pairs.csv", "text_a,text_b,agreement\na,b,0.5\n")
    with pytest.raises(DataError, match="agreement") as caught:
        read_scored_pairs(path)
    assert "--label-column" in str(caught.value)
    named = Columns(text="text_a", text_pair="text_b", label="agreement")
    assert [one.value for one in read_scored_pairs(path, columns=named).examples] == [0.5]
    assert read_scored_pairs(path, labelled=False).examples[0].value is None


def test_a_score_without_a_second_text_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "odd.csv", "text,translation,score\na,b,0.5\n")
    with pytest.raises(DataError, match="--text-pair-column"):
        read_scored_pairs(path)


# --- texts that belong together, and that do not


def test_pairs_without_a_score_belong_together(tmp_path: Path) -> None:
    path = written(tmp_path, "pairs.csv", "id,text_a,text_b\n1,a,b\n2,c,d\n")
    result = read_scored_pairs(path)
    assert rows(result) == [("a", "b", 1.0, 2), ("c", "d", 1.0, 3)]
    assert any("belong together" in note for note in result.notes)
    assert [one.value for one in read_scored_pairs(path, labelled=False).examples] == [None, None]


@pytest.mark.parametrize("names", [("question", "answer"), ("Query", "Document"), ("title", "abstract")])
def test_a_question_and_its_answer_belong_together(tmp_path: Path, names: tuple[str, str]) -> None:
    path = written(tmp_path, "faq.csv", f"{names[0]},{names[1]}\nwho,me\n")
    assert rows(read_scored_pairs(path)) == [("who", "me", 1.0, 2)]
    assert rows(read_scored_pairs(path, labelled=False)) == [("who", "me", None, 2)]


def test_a_query_and_a_document_may_have_a_label(tmp_path: Path) -> None:
    path = written(tmp_path, "search.tsv", "query\tpassage\tlabel\nwho\tme\t1\nwho\tyou\t0\n")
    assert rows(read_scored_pairs(path)) == [("who", "me", 1.0, 2), ("who", "you", 0.0, 3)]


def test_a_triplet_is_two_pairs(tmp_path: Path) -> None:
    path = written(tmp_path, "nli.csv", "anchor,positive,negative\na,b,c\nd,e,\n")
    result = read_scored_pairs(path)
    assert rows(result) == [("a", "b", 1.0, 2), ("a", "c", 0.0, 2), ("d", "e", 1.0, 3)]
    assert any("'negative'" in note for note in result.notes)


def test_lists_of_positives_and_negatives_are_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "mined.jsonl.gz"
    lines = [
        {"query": "q", "pos": ["p", "r"], "neg": ["n", "m"], "prompt": "find"},
        {"query": "k", "pos": "l", "neg": []},
    ]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    assert rows(read_scored_pairs(path)) == [
        ("q", "p", 1.0, 1),
        ("q", "r", 1.0, 1),
        ("q", "n", 0.0, 1),
        ("q", "m", 0.0, 1),
        ("k", "l", 1.0, 2),
    ]


def test_numbered_negatives_are_all_taken(tmp_path: Path) -> None:
    path = written(tmp_path, "mined.tsv", "query\tpositive\tnegative_1\thard_negative_2\nq\tp\tn\tm\n")
    assert [(one.text_pair, one.value) for one in read_scored_pairs(path).examples] == [
        ("p", 1.0),
        ("n", 0.0),
        ("m", 0.0),
    ]


def test_a_broken_row_of_triplets_names_its_line(tmp_path: Path) -> None:
    text = '{"anchor": "a", "positive": "b"}\n{"anchor": "a"}\nnot json\n{"anchor": "c", "positive": "d"}\n'
    path = written(tmp_path, "nli.jsonl", text)
    with pytest.raises(DataError, match=r"nli\.jsonl:2: .*the first of 2 bad rows among 4"):
        read_scored_pairs(path)
    result = read_scored_pairs(path, on_error="skip")
    assert len(result.examples) == 2
    assert [(row.line, row.kind) for row in result.bad_rows] == [(2, "empty-text"), (3, "json")]


def test_a_damaged_row_of_triplets_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "nli.csv"
    good = "".join(f"text {place},好的,差的\n" for place in range(40))
    path.write_bytes(("anchor,positive,negative\n" + good).encode() + b"a,\xff\xfe,c\n")
    with pytest.raises(DataError, match=r"nli\.csv:42"):
        read_scored_pairs(path)
    result = read_scored_pairs(path, on_error="skip")
    assert len(result.examples) == 80
    assert [(row.line, row.kind) for row in result.bad_rows] == [(42, "encoding")]


def test_a_row_of_triplets_with_a_wrong_number_of_fields_is_bad(tmp_path: Path) -> None:
    path = written(tmp_path, "nli.tsv", "anchor\tpositive\tnegative\na\tb\nc\td\te\n")
    with pytest.raises(DataError, match=r"nli\.tsv:2: 2 fields where 3 are expected"):
        read_scored_pairs(path)


# --- texts alone


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.txt", "one text\nanother\n"),
        ("t.csv", "text\none text\nanother\n"),
        ("t.csv", "text,topic\none text,x\nanother,y\n"),
    ],
)
def test_texts_alone_are_for_training_without_scores(tmp_path: Path, name: str, text: str) -> None:
    result = read_scored_pairs(written(tmp_path, name, text))
    assert [(one.text, one.text_pair, one.value) for one in result.examples] == [
        ("one text", None, None),
        ("another", None, None),
    ]
    assert any("texts alone" in note for note in result.notes)


def test_a_text_beside_what_may_be_its_partner_is_not_taken_for_one_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "faq.csv", "question,answer,source\nwho,me,web\n")
    with pytest.raises(DataError, match="--text-pair-column"):
        read_scored_pairs(path)
    assert len(read_scored_pairs(path, columns=Columns(text="question")).examples) == 1


# --- splitting


def test_pairs_of_one_first_text_share_a_side(tmp_path: Path) -> None:
    lines = [f"question {place // 4},answer {place},{place % 2}" for place in range(400)]
    path = written(tmp_path, "faq.csv", "text_a,text_b,label\n" + "\n".join(lines) + "\n")
    splits = load_splits(path, format=scored_pairs())
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (320, 40, 40)
    sides = [{one.text for one in part} for part in (splits.train, splits.dev, splits.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert splits.labels == ()


def test_the_format_knows_a_stated_range(tmp_path: Path) -> None:
    path = written(tmp_path, "sts.csv", "text_a,text_b,score\na,b,4\n")
    with pytest.raises(DataError, match="between 0 and 1"):
        scored_pairs(0, 1).read(path)
    format: DataFormat = scored_pairs()
    example = format.read(path).examples[0]
    assert format.answered(example)
    assert not format.answered(Example(text="a"))


def keys_of(examples: Sequence[Example]) -> list[bytes]:
    return connected([scored_pairs().marks(example) for example in examples])


def test_pairs_with_a_text_in_common_are_connected() -> None:
    pairs = [("a", "b"), ("c", "d"), ("B", "e"), ("f", "g"), ("e", "a "), ("d", "h"), ("i", None)]
    examples = [Example(text=first, text_pair=second) for first, second in pairs]
    keys = keys_of(examples)
    assert keys[0] == keys[2] == keys[4]
    assert keys[1] == keys[5]
    assert len(set(keys)) == 4
    turned = keys_of(examples[::-1])[::-1]
    assert turned == keys


def test_a_long_chain_of_pairs_is_one_group() -> None:
    examples = [Example(text=f"text {place}", text_pair=f"text {place + 1}") for place in range(5000)]
    assert len(set(keys_of(examples))) == 1


def test_texts_that_count_as_the_same_have_one_key() -> None:
    assert text_key("Ａ  cat") == text_key("a cat")
    assert text_key("a cat") != text_key("a dog")


# --- published files


@pytest.mark.parametrize(
    ("name", "columns", "count", "highest"),
    [
        ("pair/stsb_en/train.tsv", Columns(), 5_749, 5.0),
        ("pair/stsb_en/dev.tsv", Columns(), 1_500, 5.0),
        ("pair/stsb_en/sts-test.tsv", Columns(text="6", text_pair="7", label="5"), 1_379, 5.0),
        ("pair/stsb_zh/stsb-zh-dev.csv", Columns(), 1_500, 5.0),
        ("pair/lcqmc/dev.txt", Columns(), 8_802, 1.0),
        ("pair/mrpc/train.tsv", Columns(), 3_667, 1.0),
        ("pair/mrpc/msr_paraphrase_test.txt", Columns(), 1_725, 1.0),
        ("dirty/bq_corpus/dev.csv", Columns(), 10_000, 1.0),
    ],
)
def test_published_files_are_read_whole(
    data_dir: Path, name: str, columns: Columns, count: int, highest: float
) -> None:
    result = read_scored_pairs(data_dir / name, columns=columns)
    values = [one.value for one in result.examples]
    assert len(values) == count
    assert all(value is not None and math.isfinite(value) for value in values)
    assert (min(map(float, values)), max(map(float, values))) == (0.0, highest)  # type: ignore[arg-type]


def test_the_one_empty_reply_of_a_published_file_is_named(data_dir: Path) -> None:
    path = data_dir / "intent/beike_faq/train.tsv"
    with pytest.raises(DataError, match=r"train\.tsv:1795: one of the two texts is empty"):
        read_scored_pairs(path)
    assert len(read_scored_pairs(path, on_error="skip").examples) == 21_584
