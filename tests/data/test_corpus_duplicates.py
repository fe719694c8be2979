from __future__ import annotations

import logging
import random
import tracemalloc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from albertine.data import corpus_duplicates
from albertine.data.corpus import read_documents
from albertine.data.corpus_duplicates import DuplicateReport, find_duplicates
from albertine.data.duplicate_keys import DuplicateChoices, write_keys
from albertine.errors import DataError

WORDS = [f"word{number}" for number in range(5000)]
HAN = [chr(point) for point in range(0x4E00, 0x5E00)]


def texts_of(count: int, units: int, seed: int, *, chinese: bool = False) -> list[str]:
    generator = random.Random(seed)
    if chinese:
        return ["".join(generator.choices(HAN, k=units)) + "。" for _ in range(count)]
    return [" ".join(generator.choices(WORDS, k=units)) + "." for _ in range(count)]


def changed(text: str, changes: int, seed: int) -> str:
    """Replace some words (or characters, where there are no blanks)."""
    generator = random.Random(seed)
    parts = text.split(" ") if " " in text else list(text)
    for place in generator.sample(range(len(parts)), changes):
        parts[place] = f"new{seed}" if " " in text else "龘"
    return (" " if " " in text else "").join(parts)


def found(
    folder: Path, *parts: list[str], choices: DuplicateChoices | None = None, piece: int = 1 << 20
) -> DuplicateReport:
    files = []
    for number, part in enumerate(parts):
        files.append(folder / f"{number}.keys")
        assert write_keys(files[-1], part, choices) == len(part)
    return find_duplicates(files, folder / "stages", choices, piece=piece)


def test_the_first_of_equal_documents_stays(tmp_path: Path) -> None:
    one, other = texts_of(2, 37, seed=1)
    report = found(tmp_path, [one, other, one], [other.upper(), "short", "short", one.replace(" ", "  ") + "!"])
    assert report.kept().tolist() == [True, True, False, False, True, False, False]
    assert (report.documents, report.exact, report.near, report.groups, report.largest_group) == (7, 4, 0, 3, 3)
    assert report.kept(4, 6).tolist() == [True, False]
    assert np.load(report.first).dtype == np.int32


@pytest.mark.parametrize("chinese", [False, True])
def test_changed_copies_are_found_and_other_documents_stay(tmp_path: Path, chinese: bool) -> None:
    texts = texts_of(97, 301, seed=2, chinese=chinese)
    copies = [changed(text, 3, seed=number) for number, text in enumerate(texts[:31])]
    report = found(tmp_path, [*texts, *copies])
    assert report.kept()[:97].all()
    assert not report.kept()[97:].any()
    assert (report.exact, report.near, report.groups, report.largest_group) == (0, 31, 31, 2)
    assert report.examples[0].kept == 0
    assert report.examples[0].removed == 97
    assert 0.8 <= report.examples[0].similarity < 1
    assert len(report.examples) == 20


def test_half_changed_documents_are_not_duplicates(tmp_path: Path) -> None:
    texts = texts_of(41, 300, seed=3)
    report = found(tmp_path, [*texts, *(changed(text, 40, seed=number) for number, text in enumerate(texts))])
    assert report.near == 0


def test_without_near_duplicates_only_equal_ones_go(tmp_path: Path) -> None:
    text = texts_of(1, 99, seed=4)[0]
    report = found(tmp_path, [text, changed(text, 1, seed=1), text], choices=DuplicateChoices(near=False))
    assert report.kept().tolist() == [True, True, False]
    assert (tmp_path / "0.keys").stat().st_size < 100


def test_the_outcome_does_not_depend_on_how_much_is_sorted_at_a_time_or_on_the_files(tmp_path: Path) -> None:
    texts = texts_of(151, 60, seed=5)
    texts += [changed(text, 1, seed=number) for number, text in enumerate(texts[:70])] + texts[20:40]
    whole = found(tmp_path / "a", texts)
    pieces = found(tmp_path / "b", texts[:7], [], texts[7:100], texts[100:], piece=17)
    assert whole.first.read_bytes() == pieces.first.read_bytes()
    assert (whole.exact, whole.near, whole.compared) == (pieces.exact, pieces.near, pieces.compared)
    assert whole.exact == 20
    assert whole.near >= 60
    assert not list((tmp_path / "b" / "stages").glob("keys-*"))


def test_groups_are_connected_through_others_and_keep_their_first(tmp_path: Path) -> None:
    chain = texts_of(1, 400, seed=6)
    for step in range(12):
        chain.append(changed(chain[-1], 3, seed=step))
    generator = random.Random(7)
    order = list(range(len(chain)))
    generator.shuffle(order)
    report = found(tmp_path, texts_of(3, 50, seed=8) + [chain[place] for place in order])
    assert report.kept().tolist() == [True] * 4 + [False] * 12
    assert (report.groups, report.largest_group) == (1, 13)


def test_documents_that_are_passed_over_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    texts = texts_of(61, 70, seed=11)
    texts += [changed(text, 1, seed=number) for number, text in enumerate(texts[:40])] + texts[30:50]
    without = np.zeros(len(texts), dtype=np.bool_)
    without[:60:3] = without[100:110] = True
    alone = found(tmp_path / "alone", [text for text, out in zip(texts, without, strict=True) if not out])
    whole = found(tmp_path / "both", texts[:13], texts[13:])
    files = [tmp_path / "both" / f"{number}.keys" for number in range(2)]
    for piece in (1 << 20, 19):
        report = find_duplicates(files, tmp_path / "both" / "stages", without=without, piece=piece)
        assert report.kept()[~without].tolist() == alone.kept().tolist()
        assert report.kept()[without].all()
        assert (report.exact, report.near, report.groups) == (alone.exact, alone.near, alone.groups)
    assert (alone.exact, alone.near) != (whole.exact, whole.near)
    again = find_duplicates(files, tmp_path / "both" / "stages")
    assert (again.exact, again.near) == (whole.exact, whole.near)


def test_an_interrupted_search_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = texts_of(53, 60, seed=9)
    texts += [changed(text, 1, seed=number) for number, text in enumerate(texts)]
    expected = found(tmp_path / "whole", texts).first.read_bytes()
    file = tmp_path / "0.keys"
    write_keys(file, texts)
    original = corpus_duplicates._candidates
    bands: list[int] = []

    def stopping(*arguments: object) -> object:
        bands.append(arguments[2])  # type: ignore[arg-type]
        if len(bands) == 4:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(corpus_duplicates, "_candidates", stopping)
    with pytest.raises(KeyboardInterrupt):
        find_duplicates([file], tmp_path / "stages")
    left = sorted(path.name for path in (tmp_path / "stages").iterdir())
    assert left == ["exact.npy", "made-of.json", "near-00.npy", "near-01.npy", "near-02.npy"]
    report = find_duplicates([file], tmp_path / "stages")
    assert bands[4:] == list(range(3, 12))
    assert report.first.read_bytes() == expected


def test_a_message_a_search_and_none_a_band(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="albertine"):
        found(tmp_path, texts_of(7, 60, seed=9))
    assert [record.message for record in caplog.records] == ["duplicates: exact ones found among 7 documents"]


def test_stages_of_another_corpus_or_of_other_choices_are_made_again(tmp_path: Path) -> None:
    text = texts_of(1, 99, seed=10)[0]
    assert found(tmp_path, [text, text]).exact == 1
    assert found(tmp_path, [text, "another"]).exact == 0
    near = [text, changed(text, 1, seed=1)]
    assert found(tmp_path, near).near == 1
    assert found(tmp_path, near, choices=DuplicateChoices(threshold=1.0)).near == 0


@pytest.mark.parametrize("parts", [[], [[]], [["only one"]]])
def test_hardly_any_documents_are_no_special_case(tmp_path: Path, parts: list[list[str]]) -> None:
    report = found(tmp_path, *parts)
    assert report.documents == sum(len(part) for part in parts)
    assert report.kept().all()
    assert (report.exact, report.near, report.groups, report.examples) == (0, 0, 0, ())


def test_a_file_of_keys_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "0.keys"
    write_keys(file, texts_of(5, 30, seed=11))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="not whole"):
        find_duplicates([file], tmp_path / "stages")
    file.write_bytes(b"something else altogether, longer than a header")
    with pytest.raises(DataError, match="no file of duplicate keys"):
        find_duplicates([file], tmp_path / "stages")


def test_memory_does_not_grow_with_the_number_of_documents(tmp_path: Path) -> None:
    def texts(count: int) -> object:
        for number in range(count):
            yield f"{number % (count // 2):06d} " * 8 + "些许文字"

    def peak(count: int, attempt: int) -> int:
        write_keys(tmp_path / "warm.keys", ["warm"], DuplicateChoices(shortest=5))
        tracemalloc.start()
        file = tmp_path / f"{count}-{attempt}.keys"
        write_keys(file, texts(count), DuplicateChoices(shortest=5))  # type: ignore[arg-type]
        report = find_duplicates([file], tmp_path / f"{count}-{attempt}", DuplicateChoices(shortest=5), piece=1000)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert report.exact == count // 2
        return found

    # the least of some: what other threads of the process allocate meanwhile is counted too
    few, many = (min(peak(count, attempt) for attempt in range(3)) for count in (8_000, 32_000))
    assert many - few < 24_000 * 20


def test_versions_of_one_law_are_found_among_real_documents(data_dir: Path, tmp_path: Path) -> None:
    documents = list(islice(read_documents([data_dir / "corpus" / "zh_laws.txt.xz"]), 400))
    report = found(tmp_path, [document.text for document in documents])
    assert 1 <= report.exact + report.near < 60
    example = report.examples[0]
    assert example.similarity > 0.6
    assert example.kept < example.removed
