from __future__ import annotations

import logging

import pytest

from albertine.checkpoints.report import LoadReport, Reshaped, listed


def test_a_clean_report_says_nothing_aloud(caplog: pytest.LogCaptureFixture) -> None:
    report = LoadReport(unused=("classifier.weight",), ignored_keys=("dtype",))
    with caplog.at_level(logging.WARNING, logger="albertine"):
        report.log("folder")
    assert report.clean
    assert report.lines() == ()
    assert caplog.records == []


def test_what_is_known_and_unused_is_information(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="albertine"):
        LoadReport(unused=("classifier.weight",), ignored_keys=("dtype",)).log("folder")
    assert [record.message for record in caplog.records] == [
        "folder: known tensors that were not asked for: classifier.weight"
    ]
    assert caplog.records[0].levelno == logging.INFO


def test_keys_without_effect_are_for_debugging_and_those_of_heads_are_none(caplog: pytest.LogCaptureFixture) -> None:
    of_heads = ("architectures", "id2label", "label2id", "num_labels", "problem_type")
    with caplog.at_level(logging.DEBUG, logger="albertine"):
        LoadReport(ignored_keys=("dtype", *of_heads, "use_cache")).log("folder")
        LoadReport(ignored_keys=of_heads).log("other")
    assert [record.message for record in caplog.records] == [
        "folder: known configuration keys without effect here: dtype, use_cache"
    ]
    assert caplog.records[0].levelno == logging.DEBUG


def test_a_list_names_the_first_and_counts_the_others() -> None:
    names = [str(number) for number in range(1300)]
    assert listed([]) == ""
    assert listed(names[:6]) == "0, 1, 2, 3, 4, 5"
    assert listed(names, 2) == "0, 1 and 1,298 more"
    assert listed(names[:3], 2, total=10**9) == "0, 1 and 999,999,998 more"
    assert listed(names[:2], 5, total=2) == "0, 1"
    assert listed(names[:2], 5, total=3) == "0, 1 and 1 more"


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (LoadReport(missing=("a", "b")), "missing tensors: a, b"),
        (LoadReport(unexpected=("c",)), "unexpected tensors, not used: c"),
        (
            LoadReport(reshaped=(Reshaped(name="d", found=(7, 13), expected=(13,)),)),
            "tensors of another shape, not used: d [7, 13] where [13] was expected",
        ),
        (LoadReport(foreign_keys=("e",)), "configuration keys that are not read: e"),
        (LoadReport(notes=("f happened",)), "f happened"),
    ],
)
def test_every_difference_is_a_warning(report: LoadReport, line: str, caplog: pytest.LogCaptureFixture) -> None:
    assert not report.clean
    report.log("runs/folder")
    assert [record.message for record in caplog.records] == [f"runs/folder: {line}"]
    assert caplog.records[0].levelno == logging.WARNING
