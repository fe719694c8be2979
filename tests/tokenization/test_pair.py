from __future__ import annotations

from pathlib import Path

from albertine.tokenization.learn import learn_vocabulary
from albertine.tokenization.pair import TokenizerPair, is_pair_folder, load_tokenizer_pair, target_tokenizer

SOURCES = ["ein Hund läuft", "zwei Hunde laufen", "eine Katze schläft"] * 20
TARGETS = ["a dog runs", "two dogs run", "a cat sleeps"] * 20


def pair() -> TokenizerPair:
    return TokenizerPair(
        learn_vocabulary(SOURCES, size=90, lowercase=False, rarest=1), learn_vocabulary(TARGETS, size=60, rarest=1)
    )


def test_a_pair_cuts_what_is_read_and_knows_what_is_written() -> None:
    both = pair()
    alone = learn_vocabulary(SOURCES, size=90, lowercase=False, rarest=1)
    assert both.tokenize(SOURCES[:2]).ids.tolist() == alone.tokenize(SOURCES[:2]).ids.tolist()
    assert both.vocab_size == alone.vocab_size
    assert target_tokenizer(both) is both.target
    assert target_tokenizer(alone) is alone


def test_a_pair_comes_back_from_its_folder(tmp_path: Path) -> None:
    both = pair()
    assert not is_pair_folder(tmp_path)
    both.save(tmp_path, max_length=40)
    assert is_pair_folder(tmp_path)
    assert not (tmp_path / "vocab.txt").exists()
    again = load_tokenizer_pair(tmp_path)
    assert again.tokenize(SOURCES[:3]).ids.tolist() == both.tokenize(SOURCES[:3]).ids.tolist()
    assert again.target.tokenize(TARGETS[:3]).ids.tolist() == both.target.tokenize(TARGETS[:3]).ids.tolist()
    assert again.max_length == 40
