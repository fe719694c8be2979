"""Long texts as windows: nothing is lost, every token has one window that answers for it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.batching.windows import encoded_examples, window_places, windows
from albertine.errors import ConfigError
from albertine.records import Encoded, Tokens

CLS, SEP = 2, 3


def whole(first: int, second: int | None = None) -> Encoded:
    """Return a text of tokens 10, 11, …, or a pair that goes on counting in its second text."""
    ids = [CLS, *range(10, 10 + first), SEP]
    types = [0] * len(ids)
    if second is not None:
        ids += [*range(10 + first, 10 + first + second), SEP]
        types += [1] * (second + 1)
    return Encoded(input_ids=np.array(ids, dtype=np.int32), token_type_ids=np.array(types, dtype=np.uint8), example=4)


@settings(max_examples=200, deadline=None)
@given(
    first=st.integers(0, 90),
    second=st.none() | st.integers(0, 90),
    max_length=st.integers(9, 40),
    overlap=st.integers(0, 2),
)
def test_windows_fit_overlap_and_lose_nothing(first: int, second: int | None, max_length: int, overlap: int) -> None:
    text = whole(first, second)
    places = window_places(first, second, max_length=max_length, overlap=overlap)
    found = windows(text, max_length=max_length, overlap=overlap)
    assert len(found) == len(places)
    assert {int(one) for part in places for one in part} == set(range(len(text)))
    for one, part in zip(found, places, strict=True):
        assert len(one) <= max_length
        assert one.example == 4
        assert one.input_ids.tolist() == text.input_ids[part].tolist()
        assert one.input_ids[0] == CLS
        specials = (one.input_ids < 10).tolist()
        assert sum(specials) == (2 if second is None else 3)
        assert one.input_ids[-1] == SEP
    if len(found) > 1:
        owned = np.concatenate([one.input_ids[one.owned] for one in found if one.owned is not None])
        assert sorted(owned[owned >= 10].tolist()) == list(range(10, 10 + first + (second or 0)))
    else:
        assert found[0] is text


@given(first=st.integers(20, 200), max_length=st.integers(9, 30), overlap=st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_two_windows_share_at_least_the_overlap_and_all_are_full(first: int, max_length: int, overlap: int) -> None:
    places = window_places(first, None, max_length=max_length, overlap=overlap)
    for one, following in pairwise(places):
        shared = set(one[1:-1].tolist()) & set(following[1:-1].tolist())
        assert len(shared) >= overlap
    if len(places) > 1:
        assert {len(part) for part in places} == {max_length}


def test_a_token_belongs_to_the_window_that_shows_most_around_it() -> None:
    found = windows(whole(16), max_length=12, overlap=4)
    assert [one.input_ids[1:-1].tolist() for one in found] == [list(range(10, 20)), list(range(16, 26))]
    owned = [one.input_ids[one.owned].tolist() for one in found if one.owned is not None]
    assert [[one for one in part if one >= 10] for part in owned] == [list(range(10, 18)), list(range(18, 26))]


def test_the_shorter_text_of_a_pair_stays_whole_beside_every_window_of_the_other() -> None:
    for first, second in ((4, 60), (60, 4)):
        short = range(10, 14) if first == 4 else range(70, 74)
        found = windows(whole(first, second), max_length=20, overlap=3)
        assert len(found) > 2
        for one in found:
            assert set(short) <= set(one.input_ids.tolist())


def test_two_long_texts_move_on_side_by_side() -> None:
    found = windows(whole(40, 20), max_length=19, overlap=2)
    first = [one.input_ids[1] for one in found]
    assert first == sorted(first)
    assert {int((one.token_type_ids == 1).sum()) for one in found} == {9}


def test_targets_of_tokens_are_divided_and_others_go_to_every_window() -> None:
    rows = [whole(3), whole(30)]
    flat = Tokens(
        ids=np.concatenate([one.input_ids for one in rows]),
        token_type_ids=np.concatenate([one.token_type_ids for one in rows]),
        starts=np.array([0, 5, 37]),
        offsets=np.stack([np.arange(37), np.arange(1, 38)], axis=1),
    )
    of_tokens = encoded_examples(
        flat, max_length=14, overlap=4, targets=[one.input_ids.astype(np.int64) * 2 for one in rows]
    )
    assert of_tokens.examples == 2
    assert len(of_tokens.of_example(1)) > 2
    for one in of_tokens:
        assert one.target is not None
        assert one.offsets is not None
        assert one.target.tolist() == (one.input_ids * 2).tolist()
        assert len(one.offsets) == len(one)
    of_texts = encoded_examples(flat, max_length=14, overlap=4, targets=[np.array([0]), np.array([1])])
    assert [one.target.tolist() for one in of_texts.of_example(1) if one.target is not None] == [[1]] * (
        len(of_texts) - 1
    )
    assert len(encoded_examples(flat, max_length=None, overlap=4)) == 2


def test_an_overlap_that_leaves_nothing_new_is_refused() -> None:
    with pytest.raises(ConfigError, match="overlap"):
        windows(whole(50), max_length=12, overlap=10)
