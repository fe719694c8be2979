from __future__ import annotations

import numpy as np
import pytest

from albertine.data.near_duplicates import near_duplicates


def similarity(first: str, second: str) -> float:
    one, other = ({text[n : n + 3] for n in range(len(text) - 2)} for text in (first, second))
    return len(one & other) / len(one | other)


def random_texts(count: int, length: int, seed: int) -> list[str]:
    characters = np.random.default_rng(seed).integers(0x4E00, 0x4F00, size=(count, length))
    return ["".join(map(chr, row)) for row in characters]


def test_changed_copies_are_found_and_others_are_not() -> None:
    texts = random_texts(199, 99, seed=1)
    copies = [f"{text[:50]}改{text[51:]}" for text in texts[:13]]
    found = near_duplicates([*texts, *copies])
    assert found.pairs == tuple((n, 199 + n) for n in range(13))
    assert (found.texts, found.groups, found.skipped) == (26, 13, 0)


def test_the_threshold_is_the_exact_similarity() -> None:
    text = random_texts(1, 99, seed=2)[0]
    copy = f"{text[:20]}甲{text[21:70]}乙{text[71:]}"
    value = similarity(text, copy)
    assert near_duplicates([text, copy], threshold=value - 1e-9).pairs == ((0, 1),)
    assert near_duplicates([text, copy], threshold=value + 1e-9).pairs == ()


def test_nearly_all_pairs_of_similarity_085_are_found() -> None:
    texts = random_texts(499, 99, seed=3)
    copies = [f"{text[:25]}甲{text[26:75]}乙{text[76:]}" for text in texts]
    assert min(similarity(*pair) for pair in zip(texts, copies, strict=True)) > 0.85
    assert len(near_duplicates([*texts, *copies]).pairs) >= 490


def test_case_blanks_and_width_do_not_count_and_short_texts_are_passed_over() -> None:
    found = near_duplicates(["An example of a text", "an  EXAMPLE of ａ text", "short", "short"])
    assert found.pairs == ((0, 1),)
    assert found.skipped == 2
    assert near_duplicates([]).pairs == ()


def test_a_template_shared_by_many_texts_is_one_group_and_not_every_pair() -> None:
    frame = random_texts(1, 130, seed=4)[0]
    found = near_duplicates([frame + f"{n:03d}" for n in range(300)])
    assert (found.texts, found.groups) == (300, 1)
    assert len(found.pairs) < 300 * 60


@pytest.mark.parametrize("size", [1, 2, 3, 13])
def test_few_texts_are_no_special_case(size: int) -> None:
    found = near_duplicates(["the same long text"] * size)
    assert found.texts == (size if size > 1 else 0)
