from __future__ import annotations

from pathlib import Path

import pytest

from albertine.data.corpus_templates import TemplateChoices, Templates, find_templates, write_paragraphs
from albertine.errors import ConfigError

TEMPLATE = "This paragraph stands in every document of the corpus."
CHOICES = TemplateChoices(characters=20, documents=3)


def corpus(count: int) -> list[str]:
    return [f"The text of document {number} is its own.\n{TEMPLATE}\nshort" for number in range(count)]


@pytest.mark.parametrize("piece", [2, 1 << 20])
def test_templates_stay_in_their_first_document_only(tmp_path: Path, piece: int) -> None:
    texts = corpus(5)
    assert write_paragraphs(tmp_path / "0", texts[:2], CHOICES) == 2
    assert write_paragraphs(tmp_path / "1", texts[2:], CHOICES, first=2) == 3
    templates = find_templates([tmp_path / "0", tmp_path / "1"], tmp_path / "templates", CHOICES, piece=piece)
    assert len(templates) == 1
    cleared = [templates.without(text, number) for number, text in enumerate(texts)]
    assert cleared[0] == texts[0]
    assert cleared[1:] == [f"The text of document {number} is its own.\nshort" for number in range(1, 5)]
    assert (templates.removed_paragraphs, templates.removed_characters) == (4, 4 * len(TEMPLATE))
    assert templates.examples == {TEMPLATE: 4}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "templates"]
    again = Templates(tmp_path / "templates", CHOICES)
    assert again.without(texts[3], 3) == cleared[3]


def test_a_paragraph_counts_once_a_document(tmp_path: Path) -> None:
    write_paragraphs(tmp_path / "0", [f"{TEMPLATE}\n{TEMPLATE}\n{TEMPLATE}", TEMPLATE], CHOICES)
    assert len(find_templates([tmp_path / "0"], tmp_path / "templates", CHOICES)) == 0


def test_no_documents_have_no_templates(tmp_path: Path) -> None:
    assert write_paragraphs(tmp_path / "0", []) == 0
    templates = find_templates([tmp_path / "0"], tmp_path / "templates")
    assert len(templates) == 0
    assert templates.without(TEMPLATE, 1) == TEMPLATE


@pytest.mark.parametrize("choices", [{"characters": 0}, {"documents": 1}])
def test_choices_out_of_range_are_refused(choices: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        TemplateChoices(**choices)
