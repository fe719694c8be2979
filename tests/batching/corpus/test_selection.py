"""Held-out documents: chosen by their text alone, in the right number, never moved by documents that are added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from albertine.batching.corpus.selection import DUPLICATE, HELD_OUT, TRAIN, hold_out
from albertine.data.duplicate_keys import DuplicateChoices, write_keys


def chosen(
    folder: Path, texts: list[str], *, share: float = 0.01, least: int = 100, seed: int = 0, files: int = 3
) -> tuple[npt.NDArray[np.uint8], float]:
    paths = []
    for number, part in enumerate(np.array_split(np.array(texts, dtype=object), files)):
        paths.append(folder / f"{number}.keys")
        write_keys(paths[-1], part.tolist(), DuplicateChoices(near=False))
    codes = np.full(len(texts), TRAIN, dtype=np.uint8)
    return codes, hold_out(codes, paths, share=share, least=least, seed=seed)


def texts(count: int) -> list[str]:
    return [f"text number {number}" for number in range(count)]


def test_about_the_share_that_was_asked_for_is_held_out(tmp_path: Path) -> None:
    codes, share = chosen(tmp_path, texts(20_000))
    assert share == 0.01
    assert 140 < np.count_nonzero(codes == HELD_OUT) < 260


@pytest.mark.parametrize(("count", "share"), [(9000, 0.02), (4000, 0.04), (1900, 0.08), (300, 0.1)])
def test_small_corpora_hold_out_a_larger_share_but_never_above_a_tenth(
    tmp_path: Path, count: int, share: float
) -> None:
    codes, used = chosen(tmp_path, texts(count))
    held_out = np.count_nonzero(codes == HELD_OUT)
    assert used == pytest.approx(share)
    assert held_out >= 100 or share == 0.1
    assert held_out == pytest.approx(share * count, rel=0.4)


@pytest.mark.parametrize("count", [2, 3, 5, 11])
def test_of_a_handful_of_documents_one_at_least_is_held_out(tmp_path: Path, count: int) -> None:
    codes, _ = chosen(tmp_path, texts(count))
    assert 1 <= np.count_nonzero(codes == HELD_OUT) < count


def test_a_single_document_is_for_training(tmp_path: Path) -> None:
    assert chosen(tmp_path, texts(1), files=1)[0].tolist() == [TRAIN]


def test_nothing_is_held_out_when_nothing_is_asked_for(tmp_path: Path) -> None:
    codes, share = chosen(tmp_path, texts(50), share=0.0)
    assert share == 0
    assert set(codes.tolist()) == {TRAIN}


def test_documents_that_are_added_move_no_other(tmp_path: Path) -> None:
    alone, _ = chosen(tmp_path, texts(15_000))
    others = [f"another {number}" for number in range(7000)]
    both, _ = chosen(tmp_path, [*others[:4000], *texts(15_000), *others[4000:]], files=5)
    np.testing.assert_array_equal(both[4000:19_000], alone)


def test_a_corpus_that_grows_moves_documents_to_training_only(tmp_path: Path) -> None:
    small, _ = chosen(tmp_path, texts(1500))
    large, _ = chosen(tmp_path, texts(12_000))
    assert np.all(small[large[:1500] == HELD_OUT] == HELD_OUT)


def test_equal_texts_are_on_one_side(tmp_path: Path) -> None:
    some = texts(600)
    codes, _ = chosen(tmp_path, [*some, *(text.upper() + "!" for text in some)], share=0.2, least=0)
    np.testing.assert_array_equal(codes[:600], codes[600:])
    assert {TRAIN, HELD_OUT} == set(codes.tolist())


def test_the_seed_changes_the_choice(tmp_path: Path) -> None:
    one, _ = chosen(tmp_path, texts(5000), seed=0)
    other, _ = chosen(tmp_path, texts(5000), seed=1)
    assert 0 < np.count_nonzero((one == HELD_OUT) & (other == HELD_OUT)) < 0.3 * np.count_nonzero(one == HELD_OUT)


def test_duplicates_stay_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write_keys(path, texts(100), DuplicateChoices(near=False))
    codes = np.full(100, DUPLICATE, dtype=np.uint8)
    codes[::2] = TRAIN
    hold_out(codes, [path], share=0.5, least=0, seed=0)
    assert set(codes[1::2].tolist()) == {DUPLICATE}
    assert set(codes[::2].tolist()) == {TRAIN, HELD_OUT}
