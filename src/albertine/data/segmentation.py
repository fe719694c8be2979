"""Sentences of Chinese and English text in one pass, and the words inside of Chinese sentences.

Sentences end at line ends and after stops. Chinese stops (。！？……) need nothing behind them, Latin ones white space
and something that can begin a sentence. What closes after the stop (quotes, brackets, footnote marks) stays with it.
Brackets, book titles and short quotations are looked at as a whole, so that a stop inside of them ends nothing there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

from albertine.errors import MissingDependencyError

__all__ = ["Segmenter", "character_segmenter", "rjieba_segmenter", "split_sentences"]

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff〇々"
_CLOSERS = "”’」』）】》〉〕］｝\"')\\]}»"

# Places where a sentence may end. What is enclosed comes first, as a whole; lengths are bounded, so that a bracket that
# is never closed costs no more than the characters behind it. Every alternative begins with one literal character:
# then, and only then, the search passes over other text by looking its characters up in a set.
_PLACES = re.compile(
    "|".join(
        [
            r"\n\n*",
            rf"《[^《》\n]{{0,60}}(?:《[^《》\n]{{0,60}}》[^《》\n]{{0,60}})*》[{_CLOSERS}]*",
            *(
                rf"{opening}[^（）()\n]{{0,160}}(?:[（(][^（）()\n]{{0,80}}[）)][^（）()\n]{{0,80}}){{0,3}}[）)][{_CLOSERS}]*"
                for opening in ("（", r"\(")
            ),
            r"【[^【】\n]{0,80}】",
            *(rf"{pair[0]}[^{pair}\n]{{0,80}}{pair[1]}[{_CLOSERS}]*" for pair in ("“”", "「」", "『』")),
            *(rf"{re.escape(stop)}[。！？!?.…．｡]*(?:[{_CLOSERS}]|\[\d{{1,3}}\])*" for stop in "。！？!?.…｡"),
        ]
    )
)
_PAIRED = frozenset("《（(【“「『")
_QUOTES = frozenset("“「『")
_CHINESE_STOPS = frozenset("。！？｡")
_STOPS = frozenset("。！？!?.…．｡")
_INNER_STOP = re.compile(rf"[。！？!?.…．｡][{_CLOSERS}]*\Z")
_IS_HAN = re.compile(f"[{_HAN}]")
# After a quotation: he said, she asked; then the sentence goes on. Not so: nobody answered.
_SAYING = re.compile(
    r"\s*[^，。！？；：“”「」『』没沒不无無\n]{0,10}?"
    r"(?:说|說|道|问|問|喊|叫|答|笑|哭|骂|罵|嚷|称|稱|表示|指出|认为|認為|写|寫|吼|叹|嘆|想)(?:着|著|了)?(?=[，。！：:,.!]|\s*\Z|\n)"
)
_BLANKS = re.compile(r"\s*\Z")
_NEXT_STOP = re.compile(r"\s+[。！？!?.…，、；,;]")
_CONTINUES = frozenset("，、；：,;:—－-～·的地得和与與及或之等")
_OPENERS = "\"'“‘「『（(【《[{«*_#¿¡-–—• \t\u3000\xa0"
# The word before a stop, with the dots inside of it.
_WORD_BEFORE = re.compile(r"[^\W\d_](?:[^\W\d_]|\.(?=[^\W\d_])|[’'&-](?=[^\W\d_]))*\Z")
_LIST_MARK = re.compile(r"[\s(\[*•-]*(?:\d{1,3}(?:\.\d{1,3})*|[A-Za-z]|[ivxIVX]{1,5})\Z")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Abbreviations, lower case. What follows these is a name or a clause.
_NEVER_LAST = _set(
    """
    mr mrs ms mx messrs mme mlle dr drs prof rev fr hon pres gov sen rep amb gen col maj capt cpt cmdr adm lt sgt cpl
    pvt brig supt insp det st ste mt ft vs v viz cf ca circa al eg ie e.g i.e resp approx eds ed trans repr msgr von
    bro gens cols sens reps pfc spc
    """
)
# These stand before numbers; elsewhere they are words like others.
_BEFORE_NUMBERS = _set(
    "no nos nr art arts sec secs ch chap app par para op vol vols fig figs eq eqs pp p pg est c ser ref"
)
# These end a sentence only where a word that usually begins one follows.
_SELDOM_LAST = _set(
    """
    jr sr inc ltd co corp bros llc plc cie etc a.m p.m u.s u.k u.n e.u u.s.a u.s.s.r d.c l.a n.y b.c a.d b.c.e c.e ph.d
    m.d b.a m.a b.s m.s b.sc m.sc ll.b m.b.a d.phil r.n esq dept ave blvd rd sq bldg assn dist univ mgr oz lb lbs km cm
    mm kg hr hrs yr yrs n.j n.c s.c n.h n.m n.d s.d w.va r.i opp
    """
)
# The same, but only when written with a capital: without one they are words.
_NAMES_SELDOM_LAST = _set(
    """
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun mass calif conn fla ill
    ind kan ky la mich minn mo mont neb nev okla ore pa penn tenn tex vt va wash wis wyo ariz ark colo del ala ga
    """
)
_BEGINNERS = _set(
    """
    The A An This That These Those It Its He She His Her They Their We Our You Your I My In On At By For From With
    After Before During Since Until When While Where What Who Which Why How If As Although Though Because However But
    And Or So Then There Here Also Later Some Many Most Both All Each Every One Two No Not Another Other To Of Today
    Now Once Under Over Into About According Despite Following Meanwhile Moreover Instead Such Yes Is Are Was Were Do
    Did Does Nobody Everyone Everybody Someone Only Even Can Could Will Would Should May Might Let Please
    """
)
_NEXT_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


class Segmenter(Protocol):
    """Finds whole words in runs of Han characters; everything else is left to the tokenizer's own words."""

    @property
    def name(self) -> str:
        """What is written into a corpus's options, such as rjieba-0.2.2."""
        ...

    def words(self, sentence: str) -> list[int]:
        """Return the character offsets at which words inside of runs of Han characters start, ascending."""
        ...


def split_sentences(text: str) -> list[str]:
    """Split text into sentences, Chinese and English alike; none is empty or has white space around it.

    Line ends always end a sentence. Nothing but white space between sentences is lost.
    """
    sentences: list[str] = []
    start = 0
    for end in _ends(text):
        sentence = text[start:end].strip()
        if sentence:
            sentences.append(sentence)
        start = end
    last = text[start:].strip()
    if last:
        sentences.append(last)
    return sentences


def _ends(text: str) -> Iterator[int]:
    """Yield the offsets behind sentences."""
    start = 0
    for match in _PLACES.finditer(text):
        end = match.end()
        first = text[match.start()]
        if first == "\n":
            ends = True
        elif first in _PAIRED:
            ends = _ends_after_enclosed(text, start, match.start(), end)
        else:
            ends = _ends_after_stop(text, start, match.start(), end)
        if ends:
            yield end
            start = end


def _ends_after_enclosed(text: str, start: int, opening: int, end: int) -> bool:
    """Say whether a sentence ends behind a quotation, or a bracket that is a sentence of its own."""
    first = text[opening]
    # The last character or the last but one tells nearly all of them apart.
    if text[end - 2] not in _STOPS and not (end - opening > 3 and _INNER_STOP.search(text, opening, end - 1)):
        return False
    following = text[end : end + 1]
    if first == "《":
        return False
    if first not in _QUOTES:
        alone = _BLANKS.match(text, start, opening)
        return alone is not None and following not in _CONTINUES and not _NEXT_STOP.match(text, end)
    if not following or following == "\n":
        return True
    if following in _CONTINUES or following in _STOPS:
        return False
    if following.isspace() and not _IS_HAN.search(text, opening, end):
        return _can_begin(text, end) is not None
    if text[end - 2] in "….":
        return False
    return not _SAYING.match(text, end)


def _ends_after_stop(text: str, start: int, place: int, end: int) -> bool:
    """Say whether a sentence ends behind a run of stops and what closes after it."""
    stop = text[place]
    following = text[end : end + 1]
    if not following or following == "\n":
        return True
    run = text[place:end]
    if stop in _CHINESE_STOPS or not _CHINESE_STOPS.isdisjoint(run):
        return _after_chinese(text, place, end, following)
    if stop == "…" or (run.startswith("...") and _is_han(following)):
        return _after_ellipsis(text, start, place, end, following)
    if following.isspace():
        return _after_latin(text, start, place, end)
    # A Latin stop without a blank behind it ends a sentence between Han characters only: 真的吗?他问. But not: 3.5, a.b
    if not _is_han(following) or (len(run) > 1 and run[-1] in "\"')"):
        return False
    before = text[place - 1] if place > start else ""
    if _is_han(before) or stop in "!?":
        return bool(before)
    # It works.很好 — but not 在U.S.工作 or 3.苹果
    word = _word_before(text, start, place)
    plain = word is not None and "." not in word and word.lower() not in _NEVER_LAST | _SELDOM_LAST
    return plain and not _IS_HAN.search(text, max(start, place - 200), place)


def _after_chinese(text: str, place: int, end: int, following: str) -> bool:
    if following in "，、；：,;:—－-～·" or (following.isspace() and _NEXT_STOP.match(text, end)):
        return False
    return text[end - 1] not in "”’」』" or not _SAYING.match(text, end)


def _after_ellipsis(text: str, start: int, place: int, end: int, following: str) -> bool:
    if following in _CONTINUES:
        return False
    if following.isspace():
        return _can_begin(text, end) is not None
    before = text[max(start, place - 20) : place].strip()
    if not _is_han(following) and following not in _OPENERS:
        return False
    # 我……我不知道: a stammer, or too little for a sentence.
    return len(before) >= 4 and before[-1] != following


def _after_latin(text: str, start: int, place: int, end: int) -> bool:
    """Judge a Latin stop with white space behind it."""
    following = _can_begin(text, end)
    if following is None:
        return False
    if (end - place > 1 and text[place + 1] in _STOPS) or text[place] != ".":
        return True
    word = _word_before(text, start, place)
    if word is None:
        # 1. or 2.3. at the start is the mark of a list; elsewhere a number may be the last word.
        digit = text[place - 1 : place].isdigit()
        return not (digit and (_is_han(following[:1]) or _LIST_MARK.fullmatch(text, start, place)))
    if end - place > 1 and text[end - 1] in '"”':
        return True
    small = word.lower()
    if len(word) == 1:
        if _LIST_MARK.fullmatch(text, start, place):
            return False
        numbered = small in _BEFORE_NUMBERS and following[:1].isdigit()
        return (word.islower() and small not in _NEVER_LAST and not numbered) or following in _BEGINNERS
    if small in _NEVER_LAST or (small in _BEFORE_NUMBERS and following[:1].isdigit()):
        return False
    rare = small in _SELDOM_LAST or (small in _NAMES_SELDOM_LAST and word[0].isupper())
    if rare or ("." in word and len(word) <= 2 * word.count(".") + 2):
        return following in _BEGINNERS
    return not _LIST_MARK.fullmatch(text, start, place)


def _word_before(text: str, start: int, place: int) -> str | None:
    """Return the word that ends at a place, with the dots inside of it, at most its last 24 characters."""
    left = max(start, place - 24)
    word = text[max(text.rfind(" ", left, place) + 1, left) : place]
    if word.isalpha():  # nearly always, and much faster
        return word
    found = _WORD_BEFORE.search(text, left, place)
    return None if found is None else found[0]


def _can_begin(text: str, end: int) -> str | None:
    """Return the word that follows behind white space and opening marks, or None where it cannot begin a sentence."""
    place, size = end, len(text)
    while place < size and text[place] in _OPENERS:
        place += 1
    if place >= size or text[place] == "\n":
        return ""
    first = text[place]
    if first.islower() or first in ",;:)]}，、；：" or first in _STOPS:
        return None
    word = _NEXT_WORD.match(text, place)
    return word[0] if word else first


def _is_han(character: str) -> bool:
    return bool(_IS_HAN.match(character))


_HAN_RUNS = re.compile(f"[{_HAN}]+")


@dataclass(frozen=True, slots=True)
class _Characters:
    name: str = "characters"

    def words(self, sentence: str) -> list[int]:
        return [place for run in _HAN_RUNS.finditer(sentence) for place in range(run.start(), run.end())]


class _Cutter(Protocol):
    def cut(self, text: str, hmm: bool = True) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class _Rjieba:
    name: str
    cutter: _Cutter

    def words(self, sentence: str) -> list[int]:
        found: list[int] = []
        for run in _HAN_RUNS.finditer(sentence):
            place = run.start()
            for word in self.cutter.cut(run[0]):
                found.append(place)
                place += len(word)
        return found


def character_segmenter() -> Segmenter:
    """Return the segmenter for which every Han character is a word."""
    return _Characters()


@functools.cache
def rjieba_segmenter() -> Segmenter:
    """Return the segmenter of the rjieba package (a prefix dictionary, with a hidden Markov model for unknown words).

    Raises:
        MissingDependencyError: the package is not installed.
    """
    try:
        import rjieba  # lazy: optional
    except ImportError as error:
        raise MissingDependencyError("rjieba", extra="zh", feature="Chinese whole words") from error
    return _Rjieba(name=f"rjieba-{version('rjieba')}", cutter=rjieba)
