"""Labels that a model does not get to see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from albertine.data.hold_out import hold_out_labels
from albertine.data.samples import Splits, load_splits
from albertine.errors import ConfigError


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    path = tmp_path / "intents.csv"
    rows = [f"text {number} about {label},{label}" for label in "abcde" for number in range(23)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return load_splits(path)


def test_rows_of_the_labels_are_in_no_split_and_those_of_test_are_kept_apart(splits: Splits) -> None:
    found = hold_out_labels(splits, ["b", "d"], seed=0)
    assert found.labels == ("a", "c", "e")
    for before, after in ((splits.train, found.train), (splits.dev, found.dev), (splits.test, found.test)):
        assert after == tuple(one for one in before if one.label in ("a", "c", "e"))
    assert found.out_of_scope == tuple(one for one in splits.test if one.label in ("b", "d"))
    assert found.out_of_scope
    assert "b, d" in found.notes[-1]


def test_a_number_of_labels_is_drawn_by_the_seed(splits: Splits) -> None:
    first, again, other = (hold_out_labels(splits, 2, seed=seed) for seed in (1, 1, 2))
    assert len(first.labels) == 3
    assert first.labels == again.labels
    assert first.labels != other.labels


@pytest.mark.parametrize(("labels", "said"), [(["f"], "'f'"), (4, "from 1 to 3"), (0, "from 1 to 3")])
def test_labels_that_are_not_there_or_too_many_are_refused(splits: Splits, labels: list[str] | int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        hold_out_labels(splits, labels, seed=0)


def test_rows_without_one_label_each_are_refused(splits: Splits) -> None:
    with pytest.raises(ConfigError, match="every row"):
        hold_out_labels(replace(splits, labels=()), 1, seed=0)
