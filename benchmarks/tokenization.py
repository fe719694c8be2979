"""Tokens a second of our tokenizers beside the tokenizers library that transformers uses, on the same lines.

Run: python benchmarks/tokenization.py [--lines 20000] [--repeats 3]. The lines are those of the shared corpora
($ALBERTINE_DATA). Every candidate gets the same texts in one call and must hand over flat arrays: ids, or ids and
character offsets. "first" is a tokenizer that has seen no text yet, "again" one that has (the best of the repeats): the
difference is the time for words met for the first time. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np
from tokenizers import Encoding
from tokenizers import Tokenizer as LibraryTokenizer

from albertine.settings import data_folder
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

CASES = (
    ("WordPiece, English", "vocab/bert_uncased/vocab.txt", "en_wiki_0"),
    ("WordPiece, Chinese", "vocab/bert_chinese/vocab.txt", "zh_wiki_0"),
    ("Unigram, English", "vocab/albert_en/spiece.model", "en_wiki_0"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Tokens a second."""

    tokens: int
    first: float
    again: float


def read_lines(corpus: str, count: int) -> list[str]:
    with lzma.open(data_folder() / "corpus" / f"{corpus}.txt.xz", "rt", encoding="utf-8") as file:
        texts = (line.rstrip("\n") for line in file)
        return list(islice((text for text in texts if text.strip() and not text.startswith(("<doc", "</doc"))), count))


def ours(tokenizer: Tokenizer, *, offsets: bool) -> Callable[[list[str]], int]:
    def run(texts: list[str]) -> int:
        return len(tokenizer.tokenize(texts, offsets=offsets).ids)

    return run


def library(file: Path, *, offsets: bool) -> Callable[[list[str]], int]:
    tokenizer = LibraryTokenizer.from_file(str(file))

    def flat(encodings: list[Encoding], count: int) -> None:
        if offsets:
            spans = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
            np.fromiter(spans, dtype=np.int32, count=2 * count).reshape(-1, 2)

    def run(texts: list[str]) -> int:
        # encode_batch_fast leaves the offsets out.
        encodings = (tokenizer.encode_batch if offsets else tokenizer.encode_batch_fast)(texts)
        lengths = [len(encoding) for encoding in encodings]
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32, count=sum(lengths))
        flat(encodings, len(ids))
        return len(ids)

    return run


def measure(run: Callable[[list[str]], int], texts: list[str], repeats: int) -> Measurement:
    seconds = []
    tokens = 0
    for _ in range(repeats + 1):
        started = time.perf_counter()
        tokens = run(texts)
        seconds.append(time.perf_counter() - started)
    return Measurement(tokens=tokens, first=tokens / seconds[0], again=tokens / min(seconds[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if not (data_folder() / "corpus").is_dir():
        sys.exit(f"the shared corpora are not at {data_folder()}; set ALBERTINE_DATA to their folder")
    results = []
    print(f"{'':22} {'':9} {'tokens':>9} {'ours, first':>12} {'ours, again':>12} {'library':>12} {'ratio':>6}")
    for title, vocabulary, corpus in CASES:
        texts = read_lines(corpus, options.lines)
        source = data_folder() / vocabulary
        with tempfile.TemporaryDirectory() as folder:
            load_tokenizer(source).save(folder)
            saved = Path(folder) / "tokenizer.json"
            for offsets in (False, True):
                what = "offsets" if offsets else "ids"
                own = measure(ours(load_tokenizer(source), offsets=offsets), texts, options.repeats)
                rival = measure(library(saved, offsets=offsets), texts, options.repeats)
                print(
                    f"{title:22} {what:9} {own.tokens:9,} {own.first:12,.0f} {own.again:12,.0f} {rival.again:12,.0f} "
                    f"{own.again / rival.again:6.2f}"
                )
                results.append(
                    {
                        "case": title,
                        "what": what,
                        "tokens": own.tokens,
                        "tokens_per_second_first": round(own.first),
                        "tokens_per_second": round(own.again),
                        "library_tokens_per_second": round(rival.again),
                    }
                )
    print(
        json.dumps({"benchmark": "tokenization", "cores": os.cpu_count(), "lines": options.lines, "results": results})
    )


if __name__ == "__main__":
    main()
