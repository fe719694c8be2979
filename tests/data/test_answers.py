"""What the label's column of a file may say."""

from __future__ import annotations

import pytest

from albertine.data.answers import Answer, number, one_label, several_labels


@pytest.mark.parametrize(("cell", "label"), [(" good ", "good"), (3, "3"), (3.0, "3"), (0.5, "0.5"), (True, "true")])
def test_a_label_is_a_text_however_it_was_written(cell: object, label: str) -> None:
    assert one_label(cell) == Answer(label=label)


@pytest.mark.parametrize("cell", [None, "", "  ", float("nan")])
def test_an_empty_cell_is_no_label(cell: object) -> None:
    assert one_label(cell) is None


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("cold|dirty", ("cold", "dirty")),
        (" cold | dirty |cold", ("cold", "dirty")),
        (["cold", "a|b"], ("cold", "a|b")),
        ([1, 2.0], ("1", "2")),
        ([], ()),
        ("", ()),
        (7, ("7",)),
    ],
)
def test_several_labels_are_a_list_or_one_text(cell: object, labels: tuple[str, ...]) -> None:
    assert several_labels("|")(cell) == Answer(labels=labels)


def test_the_separator_is_the_one_asked_for() -> None:
    assert several_labels(",")("27,3") == Answer(labels=("27", "3"))
    assert several_labels("|")(None) is None
    assert isinstance(several_labels("|")([["a"]]), TypeError)


@pytest.mark.parametrize(("cell", "value"), [("3.8", 3.8), (4, 4.0), ("-1e-3", -0.001), (0, 0.0)])
def test_numbers_are_read(cell: object, value: float) -> None:
    assert number(cell) == Answer(value=value)


@pytest.mark.parametrize("cell", ["three", "inf", True, [1.0], "1,5"])
def test_what_is_no_number_is_said(cell: object) -> None:
    assert isinstance(number(cell), TypeError)


@pytest.mark.parametrize("cell", [None, "", "nan", float("nan")])
def test_a_missing_number_is_none(cell: object) -> None:
    assert number(cell) is None
