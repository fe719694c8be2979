"""The vocabulary of a model that starts from random weights, learnt from the training examples of its task."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from albertine.records import Example
from albertine.tokenization.learn import learn_vocabulary
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["learn_from_texts", "learn_from_texts_and_targets"]

logger = logging.getLogger("albertine")


def learn_from_texts(examples: Sequence[Example], size: int, lowercase: bool) -> Tokenizer:
    """Learn WordPiece from what is read.

    Args:
        examples: the training split.
        size: tokens at most.
        lowercase: whether text is lower-cased first.
    """
    texts = (text for one in examples for text in (one.text, one.text_pair) if text is not None)
    return _said(learn_vocabulary(texts, size=size, lowercase=lowercase))


def learn_from_texts_and_targets(examples: Sequence[Example], size: int, lowercase: bool) -> Tokenizer:
    """Learn one Unigram vocabulary from what is read and what is written; cased, so that texts come back as they were.

    Args:
        examples: the training split.
        size: tokens at most.
        lowercase: not looked at.
    """
    del lowercase
    texts = (text for one in examples for text in (one.text, one.target) if text is not None)
    return _said(learn_vocabulary(texts, size=size, kind="unigram", lowercase=False))


def _said(tokenizer: Tokenizer) -> Tokenizer:
    logger.info("vocabulary: %s tokens, learnt from the training split", f"{tokenizer.vocab_size:,}")
    return tokenizer
