"""HTML and Markdown taken out of text, so that only what a reader sees is left."""

from __future__ import annotations

import re

__all__ = ["has_html", "has_markdown", "without_html", "without_markdown"]

_BLOCKS = (
    "address article aside blockquote br caption center dd details dialog dir div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hr li main menu nav ol p section summary table tbody td tfoot th thead tr ul"
)
_INLINE = (
    "a abbr acronym b bdi bdo big body button cite code col colgroup data del dfn em embed font gallery head html i "
    "iframe img input ins kbd label legend link mark meta nobr noscript nowiki object option param picture poem pre q "
    "ref references rp rt ruby s samp select small source span strike strong sub sup svg template time tt u var "
    "video wbr"
)
_UNSEEN = ("script", "style", "noscript", "svg")
_ATTRIBUTES = r"(?:\s[^<>]{0,2000})?/?>"
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCKS.replace(' ', '|')}){_ATTRIBUTES}", re.IGNORECASE)
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE.replace(' ', '|')}){_ATTRIBUTES}", re.IGNORECASE)
_ANY_TAG = re.compile(
    rf"<!--|</?(?:{_BLOCKS.replace(' ', '|')}|{_INLINE.replace(' ', '|')}){_ATTRIBUTES}", re.IGNORECASE
)

# What has to be somewhere in the text, and what is then looked for.
_MARKDOWN_SIGNS = tuple(
    (literal, re.compile(pattern, re.MULTILINE))
    for literal, pattern in (
        ("# ", r"^#{1,6}[ \t]+\S"),
        ("```", r"^[ \t]*```"),
        ("~~~", r"^[ \t]*~~~"),
        ("](", r"\]\((?:https?:|/|#|\.|\w+\.\w)"),
        ("]:", r"^\[[^\]\n]{1,80}\]:"),
        ("**", r"\*\*[^*\n]{1,80}\*\*"),
        ("====", r"^={4,}[ \t]*$"),
        ("----", r"^-{4,}[ \t]*$"),
        ("![", r"!\[[^\]\n]{0,200}\]"),
        ("--|", r"^\|?[ \t]*:?-{3,}:?[ \t]*\|"),
        ("-- |", r"^\|?[ \t]*:?-{3,}:?[ \t]*\|"),
    )
)
_FENCED = re.compile(r"^[ \t]*(`{3,9}|~{3,9})[^\n]*\n.*?(?:^[ \t]*\1[ \t]*$\n?|\Z)", re.DOTALL | re.MULTILINE)
_LIST_MARK = re.compile(r"[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]")
_HAN = re.compile("[\u3400-\u9fff]")
_FIRST_HEADING = re.compile(r"\s*#{1,3} [^\n]{1,200}\n[ \t]*\n")
_UNDERLINE = re.compile(
    r"^(?:[ \t]*(?:={3,}|-{3,}|\*{3,}|_{3,})|[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+[ \t:-]*)[ \t]*$\n?", re.MULTILINE
)
_DEFINITION = re.compile(r"^[ \t]*\[[^\]\n]{1,200}\]:[^\n]*$\n?", re.MULTILINE)
_IMAGE = re.compile(
    r"!\[[^\]\n]{0,500}\](?:\([^()\n]{0,2000}(?:\([^()\n]{0,500}\)[^()\n]{0,500})?\)|\[[^\]\n]{0,200}\])?"
)
_LINK = re.compile(
    r"\[([^\[\]\n]{0,1000})\](?:\([^()\n]{0,2000}(?:\([^()\n]{0,500}\)[^()\n]{0,500})?\)|[ \t]?\[[^\[\]\n]{0,200}\])"
)
_ADDRESS = re.compile(r"<(?:https?://|mailto:)[^<>\s]{1,2000}>")
_HEADING = re.compile(r"^[ \t]{0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$", re.MULTILINE)
_QUOTED = re.compile(r"^[ \t]{0,3}(?:>[ \t]?)+", re.MULTILINE)
_BULLET = re.compile(r"^([ \t]*)[-*+•][ \t]+", re.MULTILINE)
_STRONG = re.compile(r"(?<!\\)(\*\*\*|\*\*|__)(?=\S)([^\n]{1,1000}?)(?<=\S)(?<!\\)\1")
_EMPHASIS = re.compile(
    r"(?<![*\w\\])\*(?=[^\s*])([^*\n]{1,500}?)(?<=[^\s*\\])\*(?![*\w])"
    r"|(?<![_\w\\])_(?=[^\s_])([^_\n]{1,500}?)(?<=[^\s_\\])_(?![_\w])"
)
_CODE = re.compile(r"(`{1,3})[ \t]?([^`\n]{1,1000}?)[ \t]?\1")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+.!<>|~-])")
_CELLS = re.compile(r"^[ \t]*\|(.*)\|[ \t]*$", re.MULTILINE)


def has_html(text: str) -> bool:
    """Say whether there is a comment or a tag that HTML knows."""
    return "<" in text and _ANY_TAG.search(text) is not None


def without_html(text: str) -> str:
    """Remove comments, scripts, styles and tags; block tags become line ends. What only looks like a tag stays."""
    text = _without_spans(text, re.compile("<!--"), re.compile("-->"), "")
    for name in _UNSEEN:
        opening = re.compile(rf"<{name}\b[^<>]{{0,2000}}>", re.IGNORECASE)
        text = _without_spans(text, opening, re.compile(rf"</{name}\s{{0,99}}>", re.IGNORECASE), "\n")
    return _INLINE_TAG.sub("", _BLOCK_TAG.sub("\n", text))


def _without_spans(text: str, opening: re.Pattern[str], closing: re.Pattern[str], instead: str) -> str:
    """Remove what stands between two marks; what is opened and never closed stays."""
    kept: list[str] = []
    place = 0
    while (begin := opening.search(text, place)) and (end := closing.search(text, begin.end())):
        kept += [text[place : begin.start()], instead]
        place = end.end()
    return "".join([*kept, text[place:]]) if place else text


def has_markdown(text: str) -> bool:
    """Say whether a text is written in Markdown: two kinds of signs, three of one kind, or a heading to begin with."""
    if _FIRST_HEADING.match(text):
        return True
    kinds = 0
    for literal, sign in _MARKDOWN_SIGNS:
        if literal not in text:
            continue
        count = sum(1 for _ in zip(range(3), sign.finditer(text), strict=False))
        if count == 3:
            return True
        kinds += count > 0
    return kinds >= 2


def without_markdown(text: str) -> str:
    """Keep the words of a Markdown text: marks, images, addresses, link definitions and code blocks go.

    Numbers of lists and the inside of `code` in running text stay.
    """
    text = _without_indented_code(_FENCED.sub("", text))
    text = _DEFINITION.sub("", text)
    text = _UNDERLINE.sub("", text)
    text = _ADDRESS.sub("", _IMAGE.sub("", text))
    # A link may stand inside of another one's text: [![](picture)](address).
    text = _LINK.sub(r"\1", _LINK.sub(r"\1", text))
    text = _BULLET.sub(r"\1", _HEADING.sub(r"\1", _QUOTED.sub("", text)))
    text = _CODE.sub(r"\2", text)
    text = _EMPHASIS.sub(lambda found: found[1] or found[2], _STRONG.sub(r"\2", text))
    text = _CELLS.sub(lambda found: " ".join(cell.strip() for cell in found[1].split("|")), text)
    return _ESCAPED.sub(r"\1", text)


def _without_indented_code(text: str) -> str:
    """Remove lines indented by four behind a blank line; lists stay, and Chinese: paragraphs may be indented so."""
    if "\n    " not in text and "\n\t" not in text:
        return text
    kept: list[str] = []
    code, blank = False, False
    for line in text.split("\n"):
        if not line.strip():
            blank = True
        elif (
            line.startswith(("    ", "\t")) and (code or blank) and not _LIST_MARK.match(line) and not _HAN.search(line)
        ):
            code = True
            continue
        else:
            code, blank = False, False
        kept.append(line)
    return "\n".join(kept)
