"""Texts on which an export is held against the model it was made of, when no others are given."""

from __future__ import annotations

import itertools

__all__ = ["sample_texts"]

_TEXTS = (
    "好",
    "这家店的面很好吃，下次还会再来。",
    "快递三天才到，包装也破了，客服说会补发一件新的，希望这次没有问题。",
    "今天天气怎么样？",
    "北京今天晴，最高气温二十三度，夜里有风，记得多穿一件衣服。",
    "屏幕不错，电池不行，充一次电用不到半天。",
    "价格不贵，质量一般，对得起这个价钱吧",
    "他在上海出生，后来搬到成都，在一家医院工作了十二年。",
    "请帮我订一张明天早上八点去广州的火车票。",
    "iPhone 15 比上一代轻了不少,但 USB-C 线要另外买 😀",
    "退货流程太麻烦了！！！打了三次电话都没人接，以后不会再买这家的东西了。",
    "房间干净，服务员也热情，就是早餐种类少了一点。",
    "Fine.",
    "Hello, world!",
    "The soup was cold and the waiter never came back.",
    "How old is the bridge?",
    "It was opened in 1937, twelve years after the first plans were drawn.",
    "I would not call it a masterpiece, but I laughed more than I care to admit.",
    "Book a table for four at the Italian place near the station, tomorrow at half past seven.",
    "Mary Anne O'Neill moved from Dublin to New York in May 1998 and joined Acme Corp. as an engineer.",
    "not bad at all",
    "The battery lasts two days, the screen is dim, and the price is a joke.",
    "Unbelievably, the naïve café owner re-read Dvořák's 14-page e-mail: https://example.com/a?b=c #tag @name 3.14%",
    "WORST PURCHASE EVER",
)


def sample_texts(*, pairs: bool, longest: int) -> list[str | tuple[str, str]]:
    """Return texts of both languages and of odd lengths, one of them longer than the model reads.

    Args:
        pairs: two texts each instead of one.
        longest: tokens that the model reads at a time.
    """
    words = itertools.islice(itertools.cycle(" ".join(_TEXTS).split()), longest + 1)
    long = " ".join(words)
    if not pairs:
        return [*_TEXTS, long]
    return [*zip(_TEXTS, (*_TEXTS[1:], _TEXTS[0]), strict=True), (_TEXTS[3], long), (_TEXTS[1], _TEXTS[1])]
