"""No package of the lock may carry a licence that its users would have to pass on."""

from __future__ import annotations

import re
from functools import cache
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


@cache
def licences() -> dict[str, str | None]:
    """The licence of every pinned package, None for one that is not installed here."""
    found: dict[str, str | None] = {}
    for name in PINS:
        try:
            found[name] = licence_of(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def has_to_be_passed_on(licence: str) -> bool:
    """A choice between licences ("MIT OR GPL-2.0") is fine as long as one of them is free of the obligation."""
    choices = re.split(r"\bOR\b", licence) if " OR " in licence else [licence]
    return all(FORBIDDEN.search(choice) for choice in choices)


def direct_dependencies() -> set[str]:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    direct = re.search(r"^dependencies = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert direct
    return set(re.findall(r'"([A-Za-z0-9-]+)', direct[1]))


def test_the_lock_pins_torch_and_every_direct_dependency() -> None:
    assert len(direct_dependencies()) >= 11
    assert direct_dependencies() <= {pin.lower() for pin in PINS}


def test_no_installed_package_of_the_lock_has_a_copyleft_licence() -> None:
    installed = {name: licence for name, licence in licences().items() if licence is not None}
    assert direct_dependencies() <= {name.lower() for name in installed}
    assert {name: licence for name, licence in installed.items() if has_to_be_passed_on(licence)} == {}


def test_every_package_of_the_lock_was_looked_at() -> None:
    absent = [name for name, licence in licences().items() if licence is None]
    if absent:
        pytest.skip(f"{len(absent)} of {len(PINS)} are not installed here: {', '.join(absent)}")


def test_a_copyleft_licence_would_be_seen() -> None:
    assert has_to_be_passed_on("GNU Lesser General Public License v3")
    assert has_to_be_passed_on("LGPL-3.0-or-later")
    assert has_to_be_passed_on("GPL-2.0 OR AGPL-3.0")
    assert not has_to_be_passed_on("MIT OR GPL-2.0")
    assert not has_to_be_passed_on("MPL-2.0")
