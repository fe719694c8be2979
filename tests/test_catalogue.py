from __future__ import annotations

import json
import re
import string
from importlib import resources
from pathlib import Path

import pytest

import albertine
from albertine.catalogue import Catalogue, catalogue

LANGUAGES = ("en", "zh")


def texts_of(language: str) -> dict[str, str]:
    text = (resources.files("albertine") / "texts" / f"{language}.json").read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(text)
    return found


def placeholders(text: str) -> list[str]:
    return sorted({name for _, name, _, _ in string.Formatter().parse(text) if name is not None})


def test_both_languages_have_the_same_keys_in_the_same_order() -> None:
    assert list(texts_of("en")) == list(texts_of("zh"))


def test_every_text_has_the_same_placeholders_in_both_languages() -> None:
    chinese = texts_of("zh")
    differing = [key for key, text in texts_of("en").items() if placeholders(text) != placeholders(chinese[key])]
    assert differing == []


def test_no_text_is_empty_and_sentences_end_alike() -> None:
    chinese = texts_of("zh")
    for key, text in texts_of("en").items():
        assert text.strip() == text != ""
        assert chinese[key].strip() == chinese[key] != ""
        assert text.endswith(".") == chinese[key].endswith("。"), key


def test_chinese_texts_are_chinese() -> None:
    same = {key for key, text in texts_of("en").items() if text == texts_of("zh")[key]}
    assert all(not re.search("[a-z]{4,}", re.sub("{.*?}", "", texts_of("en")[key])) for key in same)
    assert sum(bool(re.search("[一-鿿]", text)) for text in texts_of("zh").values()) > 0.9 * len(texts_of("zh"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_key_written_in_the_source_exists(language: str) -> None:
    root = Path(albertine.__path__[0])
    keys = {
        key
        for path in [*root.rglob("*.py"), *root.rglob("*.jinja")]
        for key in re.findall(
            r"""\b(?:texts|t)\(\s*["']([a-z_0-9]+\.[-a-z_0-9.]+)["']""", path.read_text(encoding="utf-8")
        )
    }
    counted = {
        f"{key}.{form}"
        for path in [*root.rglob("*.py"), *root.rglob("*.jinja")]
        for key in re.findall(r"""\.counted\(\s*["']([a-z_0-9.]+)["']""", path.read_text(encoding="utf-8"))
        for form in ("one", "other")
    }
    assert len(keys) > 40
    assert (keys | counted) - texts_of(language).keys() == set()


def test_a_count_chooses_its_form_and_is_written_with_separators() -> None:
    texts = Catalogue("en", {"a.seeds.one": "{count} seed of {name}", "a.seeds.other": "{count} seeds of {name}"})
    assert texts.counted("a.seeds", 1, name="x") == "1 seed of x"
    assert texts.counted("a.seeds", 1300, name="x") == "1,300 seeds of x"


def test_a_language_is_read_once() -> None:
    assert catalogue("zh") is catalogue("zh")
    assert catalogue("zh").language == "zh"
    assert "section.data" in catalogue("en")
    assert "section.nothing" not in catalogue("en")
