"""No package of the lock may carry a licence that its users would have to pass on."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINS = re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
FORBIDDEN = re.compile(r"\b(A|L)?GPL|General Public License", re.IGNORECASE)


def licence_of(name: str) -> str:
    metadata = distribution(name).metadata
    classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License")]
    stated = metadata.get("License-Expression") or (metadata.get("License") or "").split("\n")[0]
    return " ; ".join([stated, *classifiers])


def test_the_lock_pins_torch_and_every_direct_dependency() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    direct = re.search(r"^dependencies = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert direct
    names = re.findall(r'"([A-Za-z0-9-]+)', direct[1])
    assert len(names) >= 11
    assert set(names) <= {pin.lower() for pin in PINS}


@pytest.mark.parametrize("name", PINS)
def test_no_locked_package_has_a_copyleft_licence(name: str) -> None:
    try:
        licence = licence_of(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed here")
    # A choice between licences ("MIT OR GPL-2.0") is fine as long as one of them is free of the obligation.
    choices = re.split(r"\bOR\b", licence) if " OR " in licence else [licence]
    assert any(not FORBIDDEN.search(choice) for choice in choices), licence


def test_a_copyleft_licence_would_be_seen() -> None:
    assert FORBIDDEN.search("GNU Lesser General Public License v3")
    assert FORBIDDEN.search("LGPL-3.0-or-later")
    assert not FORBIDDEN.search("MPL-2.0")
