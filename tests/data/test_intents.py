"""Files of intents and slots: every published form gives the same examples, and what is wrong is named by its place."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from albertine import registry
from albertine.data.check import check_data
from albertine.data.columns import Columns
from albertine.data.intents import INTENTS_AND_SLOTS, read_intents
from albertine.data.results import ReadResult
from albertine.data.samples import Splits, load_splits
from albertine.data.snips import snips_rows
from albertine.errors import ConfigError, DataError
from albertine.files import members, sha256
from albertine.records import Example

Row = tuple[str, str, list[tuple[str, str]]]

ROWS: list[Row] = [
    ("PlayMusic", "play jazz by miles davis", [("jazz", "genre"), ("miles davis", "artist")]),
    ("GetWeather", "will it rain in oslo", [("oslo", "city")]),
    ("Chat", "good morning", []),
]


@pytest.fixture(autouse=True)
def registered() -> None:
    registry.tasks.add("intent-slots", "albertine.tasks.intent_slots:TASK")


def places(text: str, slots: Sequence[tuple[str, str]]) -> list[tuple[int, int, str]]:
    return [(text.index(piece), text.index(piece) + len(piece), label) for piece, label in slots]


def tags(row: Row) -> list[str]:
    """Return the BIO tags of a text's words."""
    _, text, slots = row
    found, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        inside = [one for one in places(text, slots) if one[0] <= at < one[1]]
        found.append(f"{'B' if at == inside[0][0] else 'I'}-{inside[0][2]}" if inside else "O")
        at += len(word)
    return found


def as_json_lines(folder: Path, rows: Sequence[Row], name: str = "data.jsonl") -> Path:
    lines = [
        {
            "text": text,
            "intent": intent,
            "slots": [
                {"start": start, "end": end, "label": label, "text": text[start:end]}
                for start, end, label in places(text, slots)
            ],
        }
        for intent, text, slots in rows
    ]
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def as_array(folder: Path, rows: Sequence[Row]) -> Path:
    path = folder / "data.json"
    path.write_text(
        json.dumps([{"query": text, "label": one, "spans": places(text, slots)} for one, text, slots in rows], indent=1)
    )
    return path


def as_parallel(folder: Path, rows: Sequence[Row]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seq.in").write_text("".join(text + "\n" for _, text, _ in rows), encoding="utf-8")
    (folder / "seq.out").write_text("".join(" ".join(tags(row)) + "\n" for row in rows), encoding="utf-8")
    (folder / "label").write_text("".join(intent + "\n" for intent, _, _ in rows), encoding="utf-8")
    return folder


def as_columns(folder: Path, rows: Sequence[Row]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    sentences = ["".join(f"{w} {t}\n" for w, t in zip(row[1].split(), tags(row), strict=True)) for row in rows]
    (folder / "ch.train").write_text("\n".join(sentences), encoding="utf-8")
    (folder / "ch.train.intent").write_text("".join(intent + "\n" for intent, _, _ in rows), encoding="utf-8")
    return folder


def as_snips(folder: Path, rows: Sequence[Row], split: str = "train", key: str = "entity", end: str = "") -> Path:
    for intent in dict.fromkeys(intent for intent, _, _ in rows):
        entries = []
        for own, text, slots in rows:
            if own != intent:
                continue
            pieces, at = [], 0
            for start, stop, label in places(text, slots):
                pieces += [{"text": text[at:start]}] * (at < start) + [{"text": text[start:stop], key: label}]
                at = stop
            entries.append({"data": [*pieces, {"text": text[at:]}] if at < len(text) else pieces})
        (folder / intent).mkdir(parents=True, exist_ok=True)
        (folder / intent / f"{split}_{intent}{end}.json").write_text(json.dumps({intent: entries}, indent=2))
    return folder / "*" / f"{split}_*.json"


def said(example: Example) -> Row:
    """Return what an example says, after looking that its spans name their pieces of the text."""
    assert example.spans is not None
    for span in example.spans:
        assert example.text[span.start : span.end] == span.text
    return example.label or "", example.text, [(span.text, span.label) for span in example.spans]


def notes(result: ReadResult | Splits) -> str:
    return " | ".join(result.notes)


# --- the same examples


@pytest.mark.parametrize("write", [as_json_lines, as_array, as_parallel, as_columns, as_snips])
def test_every_form_gives_the_same_examples(write: Callable[..., Path], tmp_path: Path) -> None:
    result = read_intents(write(tmp_path / "data" if write is as_parallel else tmp_path, ROWS))
    found = [said(example) for example in result.examples]
    assert sorted(found) == sorted(ROWS)
    assert [example.line > 0 and bool(example.file) for example in result.examples] == [True] * 3
    if write is not as_snips:
        assert found == ROWS


def test_a_split_is_its_folder_or_the_file_in_it(tmp_path: Path) -> None:
    parallel, columns = as_parallel(tmp_path / "one", ROWS), as_columns(tmp_path / "other", ROWS)
    for path in (parallel / "seq.in", columns / "ch.train"):
        assert [said(one) for one in read_intents(path).examples] == ROWS
    assert [one.line for one in read_intents(parallel).examples] == [1, 2, 3]
    assert [one.line for one in read_intents(columns).examples] == [1, 7, 13]


def test_packed_files_are_read(tmp_path: Path) -> None:
    folder = as_parallel(tmp_path / "data", ROWS)
    for name in ("seq.out", "seq.in"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    assert [said(one) for one in read_intents(folder).examples] == ROWS


def test_chinese_characters_make_a_text_without_blanks_and_a_token_may_be_one(tmp_path: Path) -> None:
    lines = [("放", "O"), ("周", "B-singer"), (" ", "I-singer"), ("杰", "E-singer"), ("歌", "S-kind")]
    (tmp_path / "ch.test").write_text("\n".join(f"{one} {tag}" for one, tag in lines) + "\n\n你 O\n好 O\n")
    (tmp_path / "ch.test.intent").write_text("PlayMusic\nChat\n")
    result = read_intents(tmp_path)
    assert [said(one) for one in result.examples] == [
        ("PlayMusic", "放周 杰歌", [("周 杰", "singer"), ("歌", "kind")]),
        ("Chat", "你好", []),
    ]
    assert "the tags are BIOES" in notes(result)


def test_tags_that_do_not_fit_together_are_repaired_and_counted(tmp_path: Path) -> None:
    folder = as_parallel(tmp_path / "data", ROWS)
    (folder / "seq.out").write_text("O I-genre O B-artist I-artist\nO O O O B-city\nO O\n")
    result = read_intents(folder)
    assert [said(one) for one in result.examples] == ROWS
    assert "I- that follows on nothing begins a span: 1, the first in line 1" in notes(result)


def test_joined_intents_stay_one_and_are_counted(tmp_path: Path) -> None:
    rows: list[Row] = [("flight#airfare", "flights and fares", []), *ROWS]
    result = read_intents(as_parallel(tmp_path / "data", rows))
    assert result.examples[0].label == "flight#airfare"
    assert "data/seq.in: 1 texts have several intents joined by #, each combination is one label" in result.notes


def test_pieces_of_snips_count_from_the_first_and_blanks_at_their_ends_are_left_out(tmp_path: Path) -> None:
    pieces = [{"text": "in "}, {"text": "oslo ", "entity": "snips/city", "slot_name": "city"}, {"text": "now 🍕"}]
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"GetWeather": [{"data": pieces}]}))
    result = read_intents(path)
    assert [said(one) for one in result.examples] == [("GetWeather", "in oslo now 🍕", [("oslo", "city")])]
    assert "1 spans began or ended with a blank" in notes(result)


def test_characters_written_as_two_surrogates_are_read_as_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    text = json.dumps({"PlayMusic": [{"data": [{"text": "Música 🍕"}]}]}, ensure_ascii=False)
    pair = "🍕".encode("utf-16-be")
    broken = b"".join(chr(int.from_bytes(pair[at : at + 2])).encode("utf-8", "surrogatepass") for at in (0, 2))
    path.write_bytes(text.encode().replace("🍕".encode(), broken))
    assert read_intents(path).examples[0].text == "Música 🍕"
    path.write_bytes(text.encode().replace("🍕".encode(), broken[:3]))
    with pytest.raises(DataError, match="the bytes are not utf-8"):
        read_intents(path)


# --- what is wrong


def row(**changed: object) -> dict[str, object]:
    return {
        "text": "rain in oslo",
        "intent": "GetWeather",
        "slots": [{"start": 8, "end": 12, "label": "city"}],
    } | changed


@pytest.mark.parametrize(
    ("bad", "kind", "reason"),
    [
        (row(slots=[[8, 13, "city"]]), "spans", "a span from 8 to 13 in a text of 12 characters"),
        (row(slots=[[8, 12, "city"], [5, 9, "place"]]), "spans", "two spans overlap: 'in o' at 5, 'oslo' at 8"),
        (row(slots=[{"start": 8, "end": 12, "label": "city", "text": "rome"}]), "spans", "stands 'oslo', not 'rome'"),
        (row(slots=[[5, 5, "city"]]), "spans", "is empty"),
        (row(slots=[["8", 12, "city"]]), "type", "two whole numbers"),
        (row(slots="oslo"), "type", "the spans are a str"),
        (row(slots=None), "no-label", "the slots are missing"),
        (row(intent=None), "no-label", "the intent is missing"),
        (row(intent=" "), "no-label", "the intent is missing"),
        (row(intent=["a", "b"]), "type", "the intent is a list"),
        (row(text=" ", slots=[]), "empty-text", "the text is empty"),
        (row(text=7), "type", "the text is a int"),
        ("no object", "json", "a JSON object is needed"),
    ],
)
def test_bad_rows_are_named_by_line_and_left_out_on_request(
    tmp_path: Path, bad: object, kind: str, reason: str
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (row(), bad, row(intent=3))), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_intents(path)
    assert "data.jsonl:2: " in str(caught.value)
    assert reason in str(caught.value)
    result = read_intents(path, on_error="skip")
    assert [(one.line, one.kind) for one in result.bad_rows] == [(2, kind)]
    assert [one.label for one in result.examples] == ["GetWeather", "3"]
    assert f"1 of 3 rows left out ({kind} 1)" in notes(result)


def test_tokens_and_tags_of_different_number_are_named_by_line(tmp_path: Path) -> None:
    folder = as_parallel(tmp_path / "data", ROWS)
    (folder / "seq.out").write_text("O B-genre O B-artist I-artist\nO O O B-city\nO X-y\n")
    with pytest.raises(DataError, match=r"seq\.in:2: 5 tokens, and 4 tags in seq\.out \(the first of 2 bad rows"):
        read_intents(folder)
    result = read_intents(folder, on_error="skip")
    assert [said(one) for one in result.examples] == ROWS[:1]
    assert [(one.line, one.kind) for one in result.bad_rows] == [(2, "fields"), (3, "tag")]


def test_a_missing_intent_and_an_empty_line_are_bad_rows(tmp_path: Path) -> None:
    folder = as_parallel(tmp_path / "data", [*ROWS, ("Chat", "", []), ("", "hello", [])])
    result = read_intents(folder, on_error="skip")
    assert [(one.line, one.kind) for one in result.bad_rows] == [(4, "empty-text"), (5, "no-label")]
    assert [said(one) for one in result.examples] == ROWS


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("short", ["seq.in", "seq.out", "label"])
def test_files_that_are_not_in_step_are_refused_at_the_line_that_one_lacks(
    tmp_path: Path, short: str, on_error: str
) -> None:
    folder = as_parallel(tmp_path / "data", ROWS)
    lines = (folder / short).read_text().splitlines(keepends=True)
    (folder / short).write_text("".join(lines[:2]))
    with pytest.raises(DataError) as caught:
        read_intents(folder, on_error=on_error)
    assert caught.value.where == f"{folder / short}:3"
    assert f"2 in {short}" in str(caught.value)


def test_more_or_fewer_intents_than_tagged_texts_are_refused(tmp_path: Path) -> None:
    folder = as_columns(tmp_path, ROWS)
    with (folder / "ch.train.intent").open("a") as file:
        file.write("Chat\n")
    with pytest.raises(DataError, match=r"ch\.train:4: .*3 in ch\.train, 4 in ch\.train\.intent"):
        read_intents(folder)


def test_a_bad_line_of_tagged_texts_takes_no_others_intent(tmp_path: Path) -> None:
    folder = as_columns(tmp_path, ROWS)
    content = (folder / "ch.train").read_text().replace("rain O", "rain")
    (folder / "ch.train").write_text(content)
    result = read_intents(folder, on_error="skip")
    assert [said(one) for one in result.examples] == [ROWS[0], ROWS[2]]
    assert [(one.line, one.kind) for one in result.bad_rows] == [(9, "fields")]


def test_entries_of_snips_have_their_own_lines() -> None:
    good = {"data": [{"text": "in "}, {"text": "oslo", "entity": "city"}]}
    rows = [good, {"date": []}, good, {"data": [{"text": 3}]}, {"data": [{"text": " "}]}]
    text = json.dumps({"GetWeather": rows, "Chat [a], {b}": [good]}, indent=2)
    made, _ = snips_rows("\n" + text, where="f.json")
    found = list(made)
    lines = ("\n" + text).split("\n")
    starts = [at + 1 for at, line in enumerate(lines) if line.startswith("    {")]
    assert [one.line for one in found] == starts
    assert [type(one) is Example for one in found] == [True, False, True, False, False, True]
    assert [one.label for one in found if isinstance(one, Example)] == ["GetWeather"] * 2 + ["Chat [a], {b}"]


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    cases = [
        ("data.csv", "text,intent\nrain,GetWeather\n", "not read from a file like this"),
        ("data.jsonl", json.dumps({"text": "rain", "slots": []}), "the intent cannot be found"),
        ("data.jsonl", json.dumps({"text": "rain", "intent": "a"}), "the slots cannot be found"),
        ("data.json", '{"Chat": [{"data": [}', r"data\.json:1: from here on this is not JSON"),
        ("data.json", '{"Chat": [{"data": []}], "Other": 3}', "a list is needed"),
        ("data.json", " ", "the file is empty"),
    ]
    for name, content, message in cases:
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=message):
            read_intents(tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        read_intents(tmp_path / "*" / "train_*.json")
    with pytest.raises(ConfigError, match="on_error"):
        read_intents(tmp_path, on_error="ignore")


# --- without labels


def test_texts_alone_are_read_where_nothing_else_is_needed(tmp_path: Path) -> None:
    folder = as_parallel(tmp_path / "data", ROWS)
    (folder / "label").unlink()
    with pytest.raises(DataError, match="there is no file label"):
        read_intents(folder)
    result = read_intents(folder, labelled=False)
    assert [one.text for one in result.examples] == [text for _, text, _ in ROWS]
    assert not any(INTENTS_AND_SLOTS.answered(one) for one in result.examples)
    (tmp_path / "a.jsonl").write_text('{"text": "rain"}\n{"text": "snow", "slots": []}\n')
    assert [one.spans for one in read_intents(tmp_path / "a.jsonl", labelled=False).examples] == [None, ()]
    (tmp_path / "a.csv").write_text("id,text\n1,rain\n2,snow\n")
    assert [one.text for one in read_intents(tmp_path / "a.csv", labelled=False).examples] == ["rain", "snow"]


def test_other_keys_are_taken_where_they_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"said": "rain in oslo", "goal": "GetWeather", "entities": [[8, 12, "city"]]}))
    result = read_intents(path, columns=Columns(text="said", label="goal"))
    assert said(result.examples[0]) == ("GetWeather", "rain in oslo", [("oslo", "city")])
    assert result.columns == Columns(text="said", label="goal")


# --- whole data sets


def many(count: int, start: int = 0) -> list[Row]:
    return [(intent, f"{text} {n}", slots) for n in range(start, start + count) for intent, text, slots in ROWS]


def test_folders_of_splits_are_found(tmp_path: Path) -> None:
    as_parallel(tmp_path / "train", many(8))
    as_columns(tmp_path / "valid", many(2, 10))
    as_parallel(tmp_path / "test", many(2, 20))
    splits = load_splits(tmp_path, format=INTENTS_AND_SLOTS)
    assert [len(part) for part in (splits.train, splits.dev, splits.test)] == [24, 6, 6]
    assert splits.labels == ("Chat", "GetWeather", "PlayMusic")
    assert set(splits.sha256) == {"train", "valid", "test"}
    alone = INTENTS_AND_SLOTS.files(tmp_path / "train", dev=tmp_path / "valid")
    assert (alone.train, alone.dev, alone.test) == (tmp_path / "train", tmp_path / "valid", None)


def test_files_named_by_their_part_are_found(tmp_path: Path) -> None:
    as_json_lines(tmp_path, many(8), "train.jsonl")
    as_json_lines(tmp_path, many(2, 10), "valid.jsonl")
    files = INTENTS_AND_SLOTS.files(tmp_path)
    assert (files.train.name, files.dev and files.dev.name, files.test) == ("train.jsonl", "valid.jsonl", None)


def test_files_of_every_intent_are_one_split_and_whole_ones_go_before_samples(tmp_path: Path) -> None:
    root = tmp_path / "snips [2017]"
    as_snips(root, many(8), end="_full")
    as_snips(root, many(2))
    as_snips(root, many(2, 20), split="validate")
    files = INTENTS_AND_SLOTS.files(root)
    assert files.test is None
    assert len(read_intents(files.train).examples) == 24
    splits = load_splits(root, format=INTENTS_AND_SLOTS)
    assert len(splits.test) == 6
    assert len(splits.train) + len(splits.dev) == 24
    assert {example.label for example in splits.dev} == {"Chat", "GetWeather", "PlayMusic"}
    flat = tmp_path / "flat"
    flat.mkdir()
    for one in root.glob("*/*.json"):
        shutil.copy(one, flat)
    assert len(load_splits(flat, format=INTENTS_AND_SLOTS).test) == 6
    checked = check_data(root, task="intent-slots", near=False)
    assert [file.examples for file in checked.files] == [24, 6]


def test_a_folder_without_a_training_split_is_refused_with_what_would_be_one(tmp_path: Path) -> None:
    as_parallel(tmp_path / "first", ROWS)
    with pytest.raises(DataError, match=r"no training split\. Received: first\. Allowed: .*seq\.in"):
        INTENTS_AND_SLOTS.files(tmp_path)
    as_parallel(tmp_path / "train", ROWS)
    as_parallel(tmp_path / "Training", ROWS)
    with pytest.raises(DataError, match=r"several folders could be train\. Received: Training, train"):
        INTENTS_AND_SLOTS.files(tmp_path)


def test_the_hash_of_a_split_is_that_of_all_its_files(tmp_path: Path) -> None:
    folder = as_parallel(tmp_path / "data", ROWS)
    before = sha256(folder)
    assert sha256(folder) == before
    (folder / "label").write_text("PlayMusic\nGetWeather\nPlayMusic\n")
    assert sha256(folder) != before
    pattern = as_snips(tmp_path / "snips", ROWS)
    assert [one.parent.name for one in members(pattern)] == ["Chat", "GetWeather", "PlayMusic"]
    before = sha256(pattern)
    (tmp_path / "snips" / "Chat" / "train_Chat.json").write_text('{"Chat": []}')
    assert sha256(pattern) != before


def test_an_intent_that_train_does_not_have_stays_and_is_counted(tmp_path: Path) -> None:
    as_parallel(tmp_path / "train", many(8))
    as_parallel(tmp_path / "valid", many(2, 10))
    as_parallel(tmp_path / "test", [*many(2, 20), ("Unheard#Of", "a day at sea", [("sea", "place")])])
    for on_error in ("stop", "skip"):
        splits = load_splits(tmp_path, format=INTENTS_AND_SLOTS, on_error=on_error)
        assert len(splits.test) == 7
        assert splits.bad_rows == ()
        assert "Unheard#Of" not in splits.labels
        assert "1 of 7 rows of test have a label that train does not have: they stay, and no answer" in notes(splits)
    finding = next(one for one in check_data(tmp_path, task="intent-slots").findings if one.kind == "unknown-label")
    assert (finding.severity, finding.count) == ("warning", 1)


def test_one_file_is_divided_by_intent(tmp_path: Path) -> None:
    splits = load_splits(as_json_lines(tmp_path, many(20)), format=INTENTS_AND_SLOTS)
    for part, expected in ((splits.train, 16), (splits.dev, 2), (splits.test, 2)):
        assert set(Counter(one.label for one in part).values()) == {expected}


# --- real files


@pytest.mark.parametrize(
    ("name", "counts", "intents", "slots", "strange"),
    [
        ("atis", (4_478, 500, 893), 21, 79, 5),
        ("cais", (7_995, 994, 1_012), 13, 24, 1),
        ("snips", (13_784, 700), 7, 39, 0),
    ],
)
def test_published_files_are_read_whole(
    data_dir: Path, name: str, counts: tuple[int, ...], intents: int, slots: int, strange: int
) -> None:
    files = INTENTS_AND_SLOTS.files(data_dir / "intent" / name)
    read = [read_intents(path) for _, path in files.named()]
    assert tuple(len(result.examples) for result in read) == counts
    assert not any(result.bad_rows for result in read)
    for result in read:
        for example in result.examples:
            said(example)
    splits = load_splits(data_dir / "intent" / name, format=INTENTS_AND_SLOTS)
    assert len(splits.labels) == intents
    assert sum(example.label not in splits.labels for example in splits.test) == strange
    assert len({span.label for one in read[0].examples for span in one.spans or ()}) == slots
