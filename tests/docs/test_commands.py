"""Every command that the documents show exists, with its options; and every verb stands in both READMEs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from albertine.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:(?<=`)|^\s*(?:.*\| |torchrun .* -m )?)albertine ([^`#|\n]*)", re.MULTILINE)


def verbs() -> dict[str, set[str]]:
    """Return the options of every verb, by its words."""
    found: dict[str, set[str]] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        if below := getattr(command, "commands", None):
            for name, one in below.items():
                walk(one, (*words, name))
        else:
            known = {word for one in command.params for word in (*one.opts, *one.secondary_opts)}
            found[" ".join(words)] = known | {"--help", "--debug", "--quiet", "-q"}

    walk(typer.main.get_command(app), ())
    return found


VERBS = verbs()


def shown(page: Path) -> list[tuple[str, list[str]]]:
    """Return verb and options of every command on a page; nothing for words that are no verb, such as `albertine`."""
    commands = []
    for words in COMMAND.findall(page.read_text(encoding="utf-8")):
        for length in (2, 1):
            name = " ".join(words.split()[:length])
            if name in VERBS:
                commands.append((name, re.findall(r"(?<![\w-])--?[a-z][\w-]*", words)))
                break
        else:
            assert not re.match(r"[a-z]+ [A-Za-z]+ .*--", words), f"{page.name}: no such verb: albertine {words}"
    return commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    for name, options in shown(page):
        assert set(options) <= VERBS[name], f"albertine {name}"


def test_the_pages_show_commands_at_all() -> None:
    assert {name for page in PAGES for name, _ in shown(page)} == set(VERBS)


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_every_verb_stands_in_the_readme_s_table(page: str) -> None:
    rows = re.findall(r"^\| `albertine ([^`]*)`", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {next(name for name in VERBS if f"{row} ".startswith(f"{name} ")) for row in rows} == set(VERBS)
