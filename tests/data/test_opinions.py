"""Files with opinions: triplets, records of three lines, JSON; and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from albertine.data.opinions import OPINIONS, read_opinions
from albertine.errors import DataError
from albertine.records import Example, Opinion


def written(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def said(example: Example) -> list[tuple[str | None, str | None, str]]:
    """Return the opinions of an example by their words, which have to be those of the text."""
    found = []
    for one in example.opinions or ():
        for span, label in ((one.aspect, "aspect"), (one.expression, "opinion")):
            if span is not None:
                assert example.text[span.start : span.end] == span.text
                assert span.label == label
        found.append((one.aspect and one.aspect.text, one.expression and one.expression.text, one.polarity))
    return found


def opinion(example: Example, place: int) -> Opinion:
    assert example.opinions is not None
    return example.opinions[place]


# --- sentences with triplets


def test_triplets_are_words_of_their_sentence(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "train.txt",
        "The battery life is n't good , the  screen is .####[([8], [9], 'POS'), ([1, 2], [3, 4, 5], 'NEG')]",
        "Nothing to say .####[]",
    )
    first, second = read_opinions(path).examples
    assert said(first) == [("battery life", "is n't good", "NEG"), ("screen", "is", "POS")]
    assert (first.line, second.line, second.opinions) == (1, 2, ())
    assert OPINIONS.labels(first) == ("NEG", "POS")
    assert OPINIONS.answered(second)
    assert OPINIONS.answer(first) != OPINIONS.answer(second)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("good food####[([1], [2], 'POS')]", r"at the words \[2\] of a sentence of 2"),
        ("good food####[([-1], [0], 'POS')]", r"at the words \[-1\]"),
        ("good hot food####[([0, 2], [1], 'POS')]", "do not follow each other"),
        ("good food####[([], [0], 'POS')]", "a list of whole numbers"),
        ("good food####[([True], [0], 'POS')]", "a list of whole numbers"),
        ("good food####[([1], [0])]", "a triplet is"),
        ("good food####[([1], [0], '')]", "the polarity is missing"),
        ("good food####[([1], [0], 3)]", "a polarity is a string"),
        ("good food####[([1], [0], 'POS')", "no list of triplets"),
        ("good food####[print('x')]", "no list of triplets"),
        ("good food####([1], [0], 'POS')", "a tuple, not a list"),
        ("good food", "no triplets stand behind"),
        ("  ####[]", "the text is empty"),
    ],
)
def test_bad_triplets_are_named_and_counted(tmp_path: Path, row: str, reason: str) -> None:
    path = written(tmp_path, "train.txt", "a b####[([0], [1], 'NEG')]", "", row)
    with pytest.raises(DataError, match=rf"train\.txt:3: .*{reason}.*the only bad row among 2"):
        read_opinions(path)
    result = read_opinions(path, on_error="skip")
    assert len(result.examples) == 1
    assert [bad.line for bad in result.bad_rows] == [3]
    assert any("1 of 2 rows left out" in note for note in result.notes)


# --- records of three lines


def test_chinese_records_are_put_together_and_gathered_by_their_text(tmp_path: Path) -> None:
    lines = [
        *("$T$ 不 错 但 是 屏 幕 太 小", "外 观", "Positive"),
        *("外 观 不 错 但 是 $T$ 太 小", "屏 幕", "Negative"),
        *("支 持 windows mobile 的 $T$ 不 错", "功 能", "Positive"),
        *("$T$ 不 比 $T$ 差", "屏", "Positive"),
        *("$T$ 不 错 但 是 屏 幕 太 小", "外 观", "Positive"),
        *("$T$ 不 错 但 是 屏 幕 太 小", "外 观", "Negative"),
    ]
    result = read_opinions(written(tmp_path, "phone.train.txt", *lines))
    assert [one.text for one in result.examples] == [
        "外观不错但是屏幕太小",
        "支持windows mobile的功能不错",
        "屏不比屏差",
    ]
    assert said(result.examples[0]) == [
        ("外观", None, "Positive"),
        ("外观", None, "Negative"),
        ("屏幕", None, "Negative"),
    ]
    assert [one.aspect and one.aspect.start for one in result.examples[2].opinions or ()] == [0, 3]
    assert [one.line for one in result.examples] == [1, 7, 10]
    notes = " ".join(result.notes)
    assert "6 records of three lines" in notes
    assert "1 records have their aspect in several places" in notes
    assert "1 opinions stand in the file before" in notes
    assert "1 opinions contradict one before" in notes


def test_words_of_english_records_keep_their_blanks(tmp_path: Path) -> None:
    (one,) = read_opinions(written(tmp_path, "a.txt", "the $T$ is great", "battery life", "1")).examples
    assert one.text == "the battery life is great"
    assert said(one) == [("battery life", None, "1")]


def test_records_with_other_numbers_of_lines_do_not_disturb_the_others(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "a.txt",
        *("what is this",),
        *("the $T$ is great", "screen", "good"),
        *("the $T$ is bad", "screen"),
        *("the $T$ is dark", "screen", "bad", "worse", ""),
        *("the $T$ is red", "", "bad"),
        *("the $T$ is old", "phone", "bad"),
    )
    result = read_opinions(path, on_error="skip")
    assert [one.text for one in result.examples] == ["the screen is great", "the phone is old"]
    assert [(bad.line, bad.kind) for bad in result.bad_rows] == [
        (1, "fields"),
        (5, "fields"),
        (7, "fields"),
        (13, "fields"),
    ]
    assert "this one has 2 lines" in result.bad_rows[1].reason
    assert "this one has 4 lines" in result.bad_rows[2].reason
    assert "the aspect is empty" in result.bad_rows[3].reason
    with pytest.raises(DataError, match=r"a\.txt:1: .*the first of 4 bad rows among 6"):
        read_opinions(path)


# --- JSON


def test_opinions_of_json_are_stated_or_searched_for(tmp_path: Path) -> None:
    rows = [
        {
            "id": 7,
            "text": "Great food, but the food court is loud.",
            "opinions": [
                {"aspect": "food", "expression": "Great", "category": "food", "polarity": "good"},
                {"aspect": {"start": 20, "end": 30}, "expression": {"text": "loud"}, "polarity": "bad"},
                {"aspect": "food", "expression": "loud", "polarity": "bad"},
                {"aspect": None, "category": "place", "polarity": "bad"},
            ],
        },
        {"text": "It is what it is", "opinions": []},
        {"text": "seafood or food", "opinions": [{"aspect": "food", "polarity": "none", "expression": "NULL"}]},
    ]
    result = read_opinions(written(tmp_path, "a.jsonl", *(json.dumps(row) for row in rows)))
    first, second, third = result.examples
    assert said(first) == [
        (None, None, "bad"),
        ("food", "Great", "good"),
        ("food", "loud", "bad"),
        ("food court", "loud", "bad"),
    ]
    # the second opinion of "food" takes the second place
    assert [one.aspect and one.aspect.start for one in first.opinions or ()] == [None, 6, 20, 20]
    assert [one.category for one in first.opinions or ()] == ["place", "food", "", ""]
    assert (first.identifier, second.opinions) == ("7", ())
    # of two places the one that cuts no word
    assert opinion(third, 0).aspect is not None
    assert said(third) == [("food", None, "none")]
    assert third.opinions is not None
    assert third.opinions[0].aspect is not None
    assert third.opinions[0].aspect.start == 11
    assert any("several times" in note for note in result.notes)
    assert any('"NULL"' in note for note in result.notes)


def test_an_aspect_that_is_spoken_of_twice_but_stands_once_is_found_twice(tmp_path: Path) -> None:
    row = {
        "text": "the soup was hot and good",
        "opinions": [
            {"aspect": "soup", "expression": "hot", "polarity": "+"},
            {"aspect": "soup", "expression": "good", "polarity": "+"},
        ],
    }
    (one,) = read_opinions(written(tmp_path, "a.jsonl", json.dumps(row))).examples
    assert said(one) == [("soup", "hot", "+"), ("soup", "good", "+")]


@pytest.mark.parametrize(
    ("opinions", "reason"),
    [
        ([{"aspect": "soup", "polarity": "bad"}], "'soup' does not stand in the text"),
        ([{"aspect": {"start": 2, "end": 30}, "polarity": "bad"}], "from 2 to 30 in a text of 9 characters"),
        ([{"aspect": {"start": "2", "end": 3}, "polarity": "bad"}], "two whole numbers"),
        ([{"aspect": {"start": 4, "end": 5}, "polarity": "bad"}], "from 4 to 5 is empty"),
        ([{"aspect": {"start": 0, "end": 4, "text": "food"}, "polarity": "bad"}], "stands 'Good', not 'food'"),
        ([{"aspect": " ", "polarity": "bad"}], "an aspect is empty"),
        ([{"aspect": 3, "polarity": "bad"}], "or null, not 3"),
        ([{"aspect": "food"}], "the polarity is missing"),
        ([{"aspect": "food", "polarity": "bad", "category": 3}], "a category is a string"),
        (["food"], "an opinion is"),
        ({"food": "bad"}, "not a list"),
        (None, "the opinions are missing"),
    ],
)
def test_bad_rows_of_json_are_named(tmp_path: Path, opinions: object, reason: str) -> None:
    good = {"text": "Good food", "opinions": [{"aspect": "food", "polarity": "good"}]}
    path = written(tmp_path, "a.jsonl", json.dumps(good), json.dumps({"text": "Good food", "opinions": opinions}))
    with pytest.raises(DataError, match=rf"a\.jsonl:2: .*{reason}"):
        read_opinions(path)
    assert len(read_opinions(path, on_error="skip").examples) == 1


# --- texts whose opinions are asked for


def test_without_labels_aspects_may_be_given_for_which_the_polarity_is_asked(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"text": "Good food", "opinions": [{"aspect": "food"}]}', '{"text": "x"}')
    first, second = read_opinions(path, labelled=False).examples
    assert said(first) == [("food", None, "")]
    assert not OPINIONS.answered(first)
    assert second.opinions is None
    path = written(tmp_path, "b.txt", "the $T$ is great", "screen", "the $T$ is bad", "phone", "")
    assert [said(one) for one in read_opinions(path, labelled=False).examples] == [
        [("screen", None, "")],
        [("phone", None, "")],
    ]


def test_without_labels_texts_alone_are_read_in_any_format(tmp_path: Path) -> None:
    for name, lines in (
        ("a.txt", ("the food is good", "and cheap")),
        ("a.csv", ("text,stars", "the food is good,5", "and cheap,4")),
        ("a.jsonl", ('{"text": "the food is good"}', '{"text": "and cheap"}')),
    ):
        path = written(tmp_path, name, *lines)
        assert [one.text for one in read_opinions(path, labelled=False).examples] == ["the food is good", "and cheap"]
        with pytest.raises(DataError, match="opinions"):
            read_opinions(path)


# --- the published files


@pytest.mark.parametrize(
    ("name", "texts", "opinions"),
    [
        ("aste_14lap/train_triplets.txt", 906, 1460),
        ("aste_14lap/dev_triplets.txt", 219, 346),
        ("aste_14lap/test_triplets.txt", 328, 543),
        # fewer than their 1,595 and 578 records: some stand twice, and some have their aspect in two places
        ("camera_zh/camera.train.txt", 1548, 1557),
        ("camera_zh/camera.test.txt", 565, 569),
        ("phone_zh/phone.train.txt", 1755, 1767),
        ("phone_zh/phone.test.txt", 635, 639),
    ],
)
def test_published_files_are_read_whole(data_dir: Path, name: str, texts: int, opinions: int) -> None:
    path = data_dir / "opinion" / name
    if not path.exists():
        pytest.skip(f"the shared data sets have no {name}")
    result = read_opinions(path)
    assert result.bad_rows == ()
    assert len(result.examples) == texts
    assert sum(len(said(one)) for one in result.examples) == opinions
    assert len({one.text for one in result.examples}) == texts or "aste" in name
    assert all(" " not in one.text for one in result.examples if one.text.isalpha() and "zh" in name)
