from __future__ import annotations

import pytest

from albertine.data.markup import has_html, has_markdown, without_html, without_markdown

HTML = [
    ("<p><strong>央视网消息</strong>（新闻联播）：长江</p><p>第二段</p>", "\n央视网消息（新闻联播）：长江\n\n第二段\n"),
    ("before<!-- INFO END -->after", "beforeafter"),
    ("<!-- over\nlines -->x", "x"),
    ('<a href="http://x/?a=1&b=2" title="t">link</a>', "link"),
    ("one<br/>two<BR>three", "one\ntwo\nthree"),
    ("<script>var x = '<p>';</script>text<style type='x'>p {}</style>", "\ntext\n"),
    ("a < b and c > d", "a < b and c > d"),
    ("List<String> x = new Map<int, int>();", "List<String> x = new Map<int, int>();"),
    ("<ref name=x>note</ref>", "note"),
    ("x <- y; a <= b", "x <- y; a <= b"),
]


@pytest.mark.parametrize(("text", "cleared"), HTML)
def test_tags_go_and_what_looks_like_one_stays(text: str, cleared: str) -> None:
    assert without_html(text) == cleared
    assert has_html(text) is (text != cleared)


MARKDOWN = [
    ("# 标题\n\n正文", "标题\n\n正文"),
    ("## Heading ##\ntext", "Heading\ntext"),
    ("Title\n=====\nText\n-----\nend", "Title\nText\nend"),
    ("see [the page](http://x.org/a_(b) 'title') now", "see the page now"),
    ("[LCTT][] 与 [Linux][1]", "LCTT 与 Linux"),
    ("[1]:http://a.b/c\n[#]: translator: (x)\nend", "end"),
    ("![picture](http://x/y.png) text", " text"),
    ("[![badge](a.png)](http://x) text", " text"),
    ("**bold** and *slanted* and __strong__ and _so_", "bold and slanted and strong and so"),
    ("snake_case_name and 2*3*4 and a * b * c", "snake_case_name and 2*3*4 and a * b * c"),
    ("use `ls -l` here", "use ls -l here"),
    ("before\n```bash\nsudo rm\n```\nafter", "before\nafter"),
    ("before\n```\nnever closed", "before\n"),
    ("before\n\n    sudo rm\n    # note\n\nafter", "before\n\n\nafter"),
    ("before\n\n    缩进的一段。\n\nafter", "before\n\n    缩进的一段。\n\nafter"),
    ("- item\n\n    - nested\n", "item\n\n    nested\n"),
    ("> quoted\n> > twice", "quoted\ntwice"),
    ("- one\n* two\n+ three\n1. four", "one\ntwo\nthree\n1. four"),
    ("| a | b |\n|---|:-:|\n| c | d |", "a b\nc d"),
    (r"\*not slanted\* and 1\. x", "*not slanted* and 1. x"),
    ("<https://x.org> end", " end"),
]


@pytest.mark.parametrize(("text", "cleared"), MARKDOWN)
def test_the_words_of_markdown_stay(text: str, cleared: str) -> None:
    assert without_markdown(text) == cleared


def test_rules_between_sections_go() -> None:
    assert without_markdown("---\ntext\n***\nend") == "text\nend"


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("# One\n\n## Two\n\ntext [a](http://x)", True),
        ("# One\ntext\n# Two\ntext\n# Three", True),
        ("One line with **bold** text.\n\n![x](y.png)", True),
        ("# a single sign", False),
        ("# 标题\n\n正文", True),
        ("Plain text (with brackets) [and such] * and - marks.", False),
        ("他说：“#话题# 很好”。\n- 第一\n- 第二", False),
        ("C# and F# are languages. 2 ** 3 == 8", False),
        ("", False),
    ],
)
def test_markdown_is_recognised_by_several_signs(text: str, markdown: bool) -> None:
    assert has_markdown(text) is markdown


@pytest.mark.parametrize(
    "piece", ["[", "![", "<", "*", "`", "_a", "[a](", "<!--", "(", "|", "> ", "**a", "<p ", "- ", "#"]
)
def test_marks_that_are_never_closed_do_not_blow_up(piece: str) -> None:
    # Quadratic work would take minutes, not the fraction of a second that this does.
    text = piece * 20_000
    assert len(without_markdown(without_html(text))) <= len(text)
    has_markdown(text)
