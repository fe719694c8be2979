"""Files of questions: what is read, what is mended, what is named as bad."""

from __future__ import annotations

import gzip
import json
import lzma
import unicodedata
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertine.data.answer_places import locate_answer
from albertine.data.columns import Columns
from albertine.data.questions import QUESTIONS, article_marks, read_questions
from albertine.data.samples import load_splits
from albertine.errors import ConfigError, DataError
from albertine.records import Example, example_from_dict, example_to_dict

CONTEXT = "Ada Lovelace wrote the first program. She was born in London in 1815."


def question(number: int, *answers: tuple[str, int], **more: object) -> dict[str, object]:
    return {
        "id": f"q{number}",
        "question": f"Question {number}?",
        "answers": [{"text": text, "answer_start": start} for text, start in answers],
        **more,
    }


def squad(*questions: dict[str, object], context: str = CONTEXT, title: str = "Ada") -> dict[str, object]:
    return {"version": "v2.0", "data": [{"title": title, "paragraphs": [{"context": context, "qas": list(questions)}]}]}


def written(folder: Path, value: object, name: str = "questions.json", **style: object) -> Path:
    path = folder / name
    path.write_text(json.dumps(value, **style), encoding="utf-8")  # type: ignore[arg-type]
    return path


def lines(folder: Path, *rows: object, name: str = "questions.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def row(number: int, answer: str = "London", **more: object) -> dict[str, object]:
    return {
        "id": number,
        "question": f"Question {number}?",
        "context": CONTEXT,
        "answers": [{"text": answer, "start": CONTEXT.find(answer)}],
        **more,
    }


def pieces(example: Example) -> list[tuple[int, str]]:
    assert example.spans is not None
    assert example.text_pair is not None
    for span in example.spans:
        assert example.text_pair[span.start : span.end] == span.text
    return [(span.start, span.text) for span in example.spans]


# --- forms


def test_squad_gives_questions_contexts_and_answers(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        squad(
            question(1, ("London", 54), ("London in 1815", 54), ("London", 54)),
            question(2, is_impossible=True, plausible_answers=[{"text": "Ada", "answer_start": 0}]),
        ),
    )
    result = read_questions(path)
    first, second = result.examples
    assert (first.text, first.text_pair, first.identifier, first.group) == ("Question 1?", CONTEXT, "q1", "Ada")
    assert pieces(first) == [(54, "London"), (54, "London in 1815")]
    assert first.spans is not None
    assert {span.label for span in first.spans} == {"answer"}
    assert second.spans == ()
    assert result.bad_rows == ()
    assert result.notes == ()


@pytest.mark.parametrize("packing", ["gz", "xz", "zip"])
def test_packed_files_are_read(tmp_path: Path, packing: str) -> None:
    plain = written(tmp_path, squad(question(1, ("Ada", 0))))
    path = tmp_path / f"questions.json.{packing}"
    if packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(plain, "questions.json")
    else:
        path.write_bytes((gzip if packing == "gz" else lzma).compress(plain.read_bytes()))
    assert [pieces(one) for one in read_questions(path).examples] == [[(0, "Ada")]]


def test_rows_are_read_from_json_lines_json_and_parquet_alike(tmp_path: Path) -> None:
    rows = [
        row(1, title="Ada"),
        {**row(2), "answers": {"text": ["1815", "in 1815"], "answer_start": [64, 61]}},
        {**row(3), "answers": {"text": [], "answer_start": []}},
    ]
    expected = [[(54, "London")], [(64, "1815"), (61, "in 1815")], []]
    for path in (lines(tmp_path, *rows), written(tmp_path, rows, indent=1)):
        result = read_questions(path)
        assert [pieces(one) for one in result.examples] == expected
        assert [one.identifier for one in result.examples] == ["1", "2", "3"]
        assert [one.group for one in result.examples] == ["Ada", "", ""]
    table = pa.Table.from_pylist([{**one, "answers": expected_struct(one["answers"])} for one in rows])
    pq.write_table(table, tmp_path / "questions.parquet")
    assert [pieces(one) for one in read_questions(tmp_path / "questions.parquet").examples] == expected


def expected_struct(answers: object) -> dict[str, list[object]]:
    """The answers in the form of the published Parquet files."""
    if isinstance(answers, dict):
        return answers
    assert isinstance(answers, list)
    return {"text": [one["text"] for one in answers], "answer_start": [one["start"] for one in answers]}


def test_fields_can_have_other_names_and_missing_ones_are_named(tmp_path: Path) -> None:
    path = lines(tmp_path, {"q": "Where?", "passage": CONTEXT, "a": ["London"]})
    result = read_questions(path, columns=Columns(text="q", text_pair="passage", label="a"))
    assert pieces(result.examples[0]) == [(54, "London")]
    with pytest.raises(DataError, match=r"no question in this file.*q, passage, a.*--text-column"):
        read_questions(path)
    with pytest.raises(DataError, match="no context in this file"):
        read_questions(path, columns=Columns(text="q"))


def test_other_forms_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,context\nx,y\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"\.csv.*SQuAD's JSON, JSON Lines"):
        read_questions(tmp_path / "a.csv")
    (tmp_path / "empty.json").write_text(" \n", encoding="utf-8")
    with pytest.raises(DataError, match="empty"):
        read_questions(tmp_path / "empty.json")
    with pytest.raises(DataError, match="no rows"):
        read_questions(written(tmp_path, {"data": []}))
    with pytest.raises(ConfigError, match="stop, skip"):
        read_questions(tmp_path / "empty.json", on_error="ignore")


def test_damaged_structure_is_named_by_its_path_and_the_rest_is_kept(tmp_path: Path) -> None:
    document = squad(question(1, ("Ada", 0)))
    articles = document["data"]
    assert isinstance(articles, list)
    articles += [["no article"], {"title": "x", "paragraphs": [{"context": CONTEXT}, {"context": "c", "qas": ["why"]}]}]
    path = written(tmp_path, document)
    result = read_questions(path, on_error="skip")
    assert len(result.examples) == 1
    assert [bad.reason.split(":")[0] for bad in result.bad_rows] == [
        "data[1]",
        "data[2].paragraphs[0]",
        "data[2].paragraphs[1].qas[0]",
    ]
    with pytest.raises(DataError, match=r"data\[1\]: an article.*first of 3 bad rows among 4"):
        read_questions(path)


# --- answers that do not stand where the file says


def test_moved_answers_are_found_nearest_to_where_they_should_be_and_counted(tmp_path: Path) -> None:
    context = "red fish, blue fish, old fish, new fish"
    path = written(
        tmp_path,
        squad(
            question(1, ("fish", 27)), question(2, ("fish", -1)), question(3, ("new", 0), ("old", 21)), context=context
        ),
    )
    result = read_questions(path)
    assert [pieces(one) for one in result.examples] == [[(25, "fish")], [(4, "fish")], [(31, "new"), (21, "old")]]
    assert any("found elsewhere in their context than the file says: 3," in note for note in result.notes)


def test_an_answer_is_not_found_inside_a_word_where_it_also_stands_alone() -> None:
    context = "the theory that he had"
    found = locate_answer(context, "he", 8)
    assert found is not None
    assert (found.start, context[found.start : found.end]) == (16, "he")
    inside = locate_answer("in the 1960s", "1960", 0)
    assert inside is not None
    assert inside.start == 7
    chinese = locate_answer("光荣和公司", "荣和", -1)
    assert chinese is not None
    assert chinese.start == 1


@pytest.mark.parametrize(
    ("context", "answer", "piece"),
    [
        ("生于１９９８年的他", "1998年", "１９９８年"),
        ("two  \n words here", "two words", "two  \n words"),
        ("光荣 和 ω-force", "光荣和ω-force", "光荣 和 ω-force"),
        (unicodedata.normalize("NFD", "le café noir"), "café", unicodedata.normalize("NFD", "café")),
        ("le café noir", unicodedata.normalize("NFD", "café"), "café"),
        ("a zero\u200bwidth gap", "zerowidth", "zero\u200bwidth"),
        ("½ of it", "1⁄2 of", "½ of"),
        ("因是内陆国家，所以没有", "因是内陆国家。", "因是内陆国家"),
        ("光荣 和公司，", "光荣和公司！？", "光荣 和公司"),
    ],
)
def test_other_spellings_are_found_and_given_as_the_context_writes_them(
    tmp_path: Path, context: str, answer: str, piece: str
) -> None:
    result = read_questions(written(tmp_path, squad(question(1, (answer, 0)), context=context)))
    assert [text for _, text in pieces(result.examples[0])] == [piece]
    assert any("another spelling" in note for note in result.notes)


def test_a_character_is_not_taken_apart_for_an_answer() -> None:
    assert locate_answer("le café noir", "cafe", 3) is None
    assert locate_answer("x½y", "1", 0) is None
    assert locate_answer("text", " \t", 0) is None
    # a stop is left out at the end alone, and not the whole answer
    assert locate_answer("about 35 of them", "3.5", 0) is None
    assert locate_answer("no stops here", "?!", 0) is None


@given(st.text(alphabet="ab é１\u0301½光\n", max_size=20), st.integers(0, 20), st.integers(0, 20), st.integers(-3, 25))
def test_a_piece_of_the_context_is_always_found_in_it(context: str, start: int, length: int, stated: int) -> None:
    piece = context[start : start + length]
    found = locate_answer(context, piece, stated)
    if not piece.strip():
        assert found is None
    else:
        assert found is not None
        assert context[found.start : found.end] == piece.strip()
        exact = locate_answer(context, piece, start)
        assert exact is not None
        assert exact.how == "stated"


def test_a_question_keeps_its_good_answers_and_one_without_any_is_bad(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        squad(question(1, ("Ada", 0), ("Babbage", 3)), question(2, ("Babbage", 3), ("Byron" * 20, 1))),
        indent=1,
    )
    with pytest.raises(DataError, match=r"data\[0\]\.paragraphs\[0\]\.qas\[1\]: the answer 'Babbage' does not stand"):
        read_questions(path)
    result = read_questions(path, on_error="skip")
    assert [one.identifier for one in result.examples] == ["q1"]
    assert pieces(result.examples[0]) == [(0, "Ada")]
    (bad,) = result.bad_rows
    assert bad.kind == "answer"
    assert '"Question 2?"' in path.read_text(encoding="utf-8").split("\n")[bad.line - 1]
    assert any("do not stand in their context (their questions have others): 1," in note for note in result.notes)
    assert any("1 of 2 questions left out (answer 1)" in note for note in result.notes)


# --- bad rows


def test_every_kind_of_bad_row_is_named_with_its_line(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        row(1),
        row(1),
        row(2, question=" "),
        row(3, context=None),
        row(4, question=5),
        row(5, answers=None),
        row(6, answers="London"),
        row(7, answers=[{"text": 5, "start": 0}]),
        row(8, answers=[{"text": "Ada", "start": "0"}]),
        row(9, answers={"text": ["Ada", "1815"], "answer_start": [0]}),
        row(10, is_impossible=True),
        row(11, answers=[], is_impossible=False),
        row(12, is_impossible="no"),
        [1],
        row(13),
    )
    result = read_questions(path, on_error="skip")
    assert [one.identifier for one in result.examples] == ["1", "13"]
    assert [(bad.line, bad.kind) for bad in result.bad_rows] == [
        (2, "duplicate-id"),
        (3, "empty-text"),
        (4, "empty-text"),
        (5, "type"),
        (6, "no-label"),
        (7, "type"),
        (8, "type"),
        (9, "type"),
        (10, "type"),
        (11, "answer"),
        (12, "answer"),
        (13, "type"),
        (14, "json"),
    ]
    with pytest.raises(DataError, match=r"questions\.jsonl:2: the id '1' was given already, in line 1"):
        read_questions(path)


def test_damaged_bytes_make_a_bad_row_of_their_question(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    good = [json.dumps(row(number)).encode() for number in range(40)]
    path.write_bytes(b"\n".join([*good, json.dumps(row(99, question="caf#")).encode().replace(b"#", b"\xe9")]))
    with pytest.raises(DataError, match=r"questions\.jsonl:41"):
        read_questions(path)
    result = read_questions(path, on_error="skip")
    assert len(result.examples) == 40
    assert [(bad.line, bad.kind) for bad in result.bad_rows] == [(41, "encoding")]


def test_a_file_of_bad_rows_alone_is_refused_either_way(tmp_path: Path) -> None:
    path = lines(tmp_path, row(1, question=""))
    for on_error in ("stop", "skip"):
        with pytest.raises(DataError, match="the question is empty"):
            read_questions(path, on_error=on_error)


def test_lines_are_those_of_the_questions_in_documents_of_any_layout(tmp_path: Path) -> None:
    document = squad(
        question(1, ("Ada", 0)),
        {**question(2, ("1815", 64)), "question": 'Naïve "quoted"\nquestion?'},
        {**question(3, ("London", 54)), "question": "Question 1?"},
    )
    for name, ensure_ascii in (("ascii.json", True), ("utf8.json", False)):
        path = written(tmp_path, document, name, indent=2, ensure_ascii=ensure_ascii)
        found = path.read_text(encoding="utf-8").split("\n")
        at = [one.line for one in read_questions(path).examples]
        assert ['"question"' in found[line - 1] for line in at] == [True] * 3
        assert at == sorted(set(at))
    assert {one.line for one in read_questions(written(tmp_path, document)).examples} == {1}


# --- questions without answers


def test_questions_to_be_answered_need_no_answers(tmp_path: Path) -> None:
    path = lines(tmp_path, {"question": "Where?", "context": CONTEXT}, row(2, answer="Babbage"), row(3))
    result = read_questions(path, labelled=False)
    assert [one.spans is None for one in result.examples] == [True, True, False]
    with pytest.raises(DataError, match="the answers are missing"):
        read_questions(path)


def test_a_file_whose_answers_are_all_empty_keeps_them_secret(tmp_path: Path) -> None:
    secret = lines(tmp_path, row(1, answers=[]), row(2, answers=[]))
    assert [one.spans for one in read_questions(secret, labelled=False).examples] == [None, None]
    with pytest.raises(DataError, match="no question of this file has an answer"):
        read_questions(secret)
    said = lines(tmp_path, row(1, answers=[], is_impossible=True), name="said.jsonl")
    assert [one.spans for one in read_questions(said).examples] == [()]


# --- splitting


def test_articles_are_never_divided(tmp_path: Path) -> None:
    articles = [
        {
            "title": f"Article {number}",
            "paragraphs": [
                {"context": f"{CONTEXT} Part {number}-{part}.", "qas": [question(10 * number + part, ("London", 54))]}
                for part in range(4)
            ],
        }
        for number in range(12)
    ]
    path = written(tmp_path, {"version": "1.1", "data": articles})
    splits = load_splits(path, format=QUESTIONS, seed=3)
    sides = [{one.group for one in part} for part in (splits.train, splits.dev, splits.test)]
    assert [len(side) for side in sides] == [10, 1, 1]
    assert len(set.union(*sides)) == 12
    assert sum(len(part) for part in (splits.train, splits.dev, splits.test)) == 48
    assert splits.labels == ()


def test_questions_about_one_article_or_one_context_stay_together() -> None:
    def together(one: Example, other: Example) -> bool:
        return not set(article_marks(one)).isdisjoint(article_marks(other))

    untitled = Example(text="a", text_pair="x")
    assert together(untitled, Example(text="b", text_pair=" X"))
    assert not together(untitled, Example(text="a", text_pair="another"))
    titled = Example(text="a", text_pair="x", group="Ada")
    assert together(titled, Example(text="a", text_pair="y", group="ada"))
    assert together(titled, untitled)
    assert not together(untitled, Example(text="a", text_pair="y", group="x"))


def test_examples_come_back_from_json(tmp_path: Path) -> None:
    for example in read_questions(
        lines(tmp_path, row(1, title="Ada"), row(2, answers=[], is_impossible=True))
    ).examples:
        assert example_from_dict(json.loads(json.dumps(example_to_dict(example)))) == example


# --- real files


def test_the_published_chinese_files_are_read_with_what_is_wrong_in_them(data_dir: Path) -> None:
    result = read_questions(data_dir / "answer/cmrc2018/cmrc2018_dev.json.xz")
    assert len(result.examples) == 3_219
    # 193 answers have no start: people wrote them, most with a full stop of their own
    assert any("another spelling" in note and ": 160," in note for note in result.notes)
    assert any("do not stand" in note and ": 33," in note for note in result.notes)
    assert len({one.text_pair for one in result.examples}) == 848
    for example in result.examples:
        assert pieces(example)
    trial = read_questions(data_dir / "answer/cmrc2018/cmrc2018_trial.json", on_error="skip")
    assert len(trial.examples) == 1_000
    assert [bad.kind for bad in trial.bad_rows] == ["empty-text"] * 2
    found = (data_dir / "answer/cmrc2018/cmrc2018_trial.json").read_text(encoding="utf-8").split("\n")
    assert all(example.text in found[example.line - 1] for example in trial.examples if '"' not in example.text)


def test_the_published_english_file_is_read_whole(data_dir: Path) -> None:
    result = read_questions(data_dir / "answer/squad2_dev_half/dev-v2.0.json.xz")
    assert len(result.examples) == 6_078
    assert sum(example.spans == () for example in result.examples) == 3_168
    assert len({example.group for example in result.examples}) == 16
    assert result.notes == ()


def test_a_file_with_misplaced_answers_is_mended(data_dir: Path) -> None:
    result = read_questions(data_dir / "dirty/covid_qa/covidQA_part.json", on_error="skip")
    assert len(result.examples) == 792
    assert any("found elsewhere" in note and ": 219," in note for note in result.notes)
    assert len({example.text_pair for example in result.examples}) == 24
    for example in result.examples:
        assert pieces(example)
