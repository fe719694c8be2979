from __future__ import annotations

import logging

import pytest

from albertine.checkpoints.report import LoadReport, Reshaped


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
    assert "classifier.weight" in caplog.text
    assert "dtype" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.INFO}


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
