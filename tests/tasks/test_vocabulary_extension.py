from __future__ import annotations

from pathlib import Path

import pytest
import torch

from albertine.checkpoints.load import load_pretraining
from albertine.checkpoints.writing import save_encoder
from albertine.errors import TokenizerError
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.tasks.vocabulary_extension import extend_vocabulary
from albertine.tokenization.albert_text import TextRules
from albertine.tokenization.normalization import Rules
from albertine.tokenization.sentencepiece_model import PieceType, write_model
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.unigram import UnigramModel
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

OLD_WORDS = [
    "heart",
    "beat",
    "##beat",
    "##s",
    "a",
    "##a",
    "t",
    "##t",
    "心",
    "脏",
    "##脏",
    ".",
    "##.",
    "[unused0]",
    "lost",
]
NEW_WORDS = [
    "beat",
    "heartbeat",
    "##beats",
    "##heart",
    "心脏",
    "##.s",
    "Heart",
    "心",
    "ψ",
    "[unused7]",
    "[unused0]",
    "心ψ",
    "aψ",
]


def wordpiece(words: list[str], *, special: list[str] | None = None) -> Tokenizer:
    rules = Rules(lowercase=True, strip_accents=True)
    return Tokenizer(WordPieceModel([*(special or SPECIAL_TOKENS), *words], rules=rules))


def unigram(words: list[str]) -> Tokenizer:
    names = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", *words]
    types = [PieceType.CONTROL, PieceType.UNKNOWN] + [PieceType.CONTROL] * 3 + [PieceType.NORMAL] * len(words)
    scores = [0.0] * 5 + [-1.0 - index / 13 for index in range(len(words))]
    return Tokenizer(UnigramModel(write_model(names, scores, types, b""), rules=TextRules()))


def model(old: Tokenizer, **overrides: str | int | float | bool) -> PretrainingModel:
    sizes: dict[str, str | int | float | bool] = {
        "vocab_size": old.vocab_size,
        "hidden_size": 24,
        "embedding_size": 7,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 31,
        "max_position_embeddings": 16,
        "initializer_range": 0.5,
    }
    made = PretrainingModel(EncoderConfig.preset("albert-base", **{**sizes, **overrides}))
    head = made.masked_word_head
    assert head is not None
    torch.nn.init.normal_(head.bias)
    return made


OLD = wordpiece(OLD_WORDS)
NEW = wordpiece(NEW_WORDS, special=["[UNK]", "[MASK]", "[PAD]", "[SEP]", "[CLS]"])


def mean_of(tokenizer: Tokenizer, table: torch.Tensor, *tokens: str) -> torch.Tensor:
    ids = [tokenizer.token_to_id(token) for token in tokens]
    assert None not in ids
    return table.double()[ids].mean(dim=0).to(table.dtype)


@pytest.mark.parametrize(
    ("token", "pieces"),
    [
        ("beat", ["beat"]),
        ("heartbeat", ["heart", "##beat"]),
        ("##beats", ["##beat", "##s"]),
        ("##heart", ["heart"]),  # there is no inner form
        ("心脏", ["心", "脏"]),  # Chinese characters are words: never the inner form, which nothing has trained
        ("##.s", ["."]),
        ("Heart", ["heart"]),
        ("心", ["心"]),
        ("[unused0]", ["[unused0]"]),
        ("心ψ", ["心"]),
    ],
)
def test_a_row_is_the_mean_of_the_rows_of_its_pieces(token: str, pieces: list[str]) -> None:
    module = model(OLD)
    before, after = module.state_dict(), extend_vocabulary(module, OLD, NEW).module.state_dict()
    index = NEW.token_to_id(token)
    for name in ("encoder.embeddings.word_embeddings.weight", "masked_word_head.bias"):
        assert torch.equal(after[name][index], mean_of(OLD, before[name], *pieces)), name


def test_special_tokens_find_each_other_by_what_they_are_for() -> None:
    module = model(OLD)
    made = extend_vocabulary(module, OLD, NEW).module
    before = module.encoder.embeddings.word_embeddings.weight
    after = made.encoder.embeddings.word_embeddings.weight
    for role in ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id"):
        assert torch.equal(after[getattr(NEW, role)], before[getattr(OLD, role)]), role
    assert made.config.pad_token_id == NEW.pad_id == 2
    assert made.encoder.embeddings.word_embeddings.padding_idx == 2


def test_the_report_counts_every_row_once() -> None:
    report = extend_vocabulary(model(OLD), OLD, NEW).report
    assert (report.copied, report.averaged, report.fresh) == (5 + 3, 7, 3)
    assert report.fresh_tokens == ("ψ", "[unused7]", "aψ")
    assert report.copied + report.averaged + report.fresh == NEW.vocab_size
    assert report.dropped == OLD.vocab_size - report.copied
    assert "8 rows copied, 7 averaged over the old pieces, 3 fresh (ψ, [unused7], aψ)" in report.describe()


def test_rows_without_pieces_lie_close_to_the_mean_and_apart_from_each_other() -> None:
    module = model(OLD)
    before = module.encoder.embeddings.word_embeddings.weight.detach()
    words = before[[index for index in range(5, OLD.vocab_size) if OLD.id_to_token(index) != "[unused0]"]]
    made = extend_vocabulary(module, OLD, NEW, seed=4).module
    after = made.encoder.embeddings.word_embeddings.weight.detach()
    fresh = after[[NEW.token_to_id("ψ"), NEW.token_to_id("[unused7]")]]
    assert not torch.equal(fresh[0], fresh[1])
    assert ((fresh - words.mean(dim=0)).abs() < 0.5 * words.std(dim=0)).all()
    head, old_head = made.masked_word_head, module.masked_word_head
    assert head is not None
    assert old_head is not None
    expected = mean_of(OLD, old_head.bias.detach(), *(one for one in OLD_WORDS if one != "[unused0]"))
    torch.testing.assert_close(head.bias.detach()[NEW.token_to_id("ψ")], expected)
    again = extend_vocabulary(module, OLD, NEW, seed=4).module.encoder.embeddings.word_embeddings.weight
    assert torch.equal(again, after)
    other = extend_vocabulary(module, OLD, NEW, seed=5).module.encoder.embeddings.word_embeddings.weight
    assert not torch.equal(other, after)


def test_the_same_vocabulary_changes_nothing() -> None:
    module = model(OLD, tie_word_embeddings=False)
    made = extend_vocabulary(module, OLD, OLD)
    before, after = module.state_dict(), made.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (made.report.copied, made.report.dropped) == (OLD.vocab_size, 0)


def test_an_untied_table_is_extended_like_the_embeddings() -> None:
    module = model(OLD, tie_word_embeddings=False)
    before, after = module.state_dict(), extend_vocabulary(module, OLD, NEW).module.state_dict()
    name = "masked_word_head.decoder.weight"
    assert after[name].shape == (NEW.vocab_size, 7)
    assert torch.equal(after[name][NEW.token_to_id("heartbeat")], mean_of(OLD, before[name], "heart", "##beat"))


def test_everything_else_is_copied_and_the_model_given_stays_as_it_is() -> None:
    module = model(OLD).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    made = extend_vocabulary(module, OLD, NEW).module
    after = made.state_dict()
    changed = {"encoder.embeddings.word_embeddings.weight", "masked_word_head.bias"}
    assert {name for name in before if before[name].shape != after[name].shape} == changed
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - changed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module.config.vocab_size == OLD.vocab_size
    assert not made.training
    assert all(parameter.requires_grad for parameter in made.parameters())


def test_the_extended_model_reads_and_predicts_new_tokens() -> None:
    made = extend_vocabulary(model(OLD), OLD, NEW).module.eval()
    batch = NEW(["heartbeat 心", "ψ"])
    out = made(batch.input_ids, attention_mask=batch.attention_mask, token_type_ids=batch.token_type_ids)
    assert out.prediction_logits.shape[-1] == NEW.vocab_size
    assert out.prediction_logits.isfinite().all()


def test_an_encoder_alone_keeps_its_kind_and_its_type() -> None:
    encoder = model(OLD).encoder.to(torch.bfloat16)
    made = extend_vocabulary(encoder, OLD, NEW).module
    assert isinstance(made, Encoder)
    assert made.config.vocab_size == NEW.vocab_size
    assert {parameter.dtype for parameter in made.parameters()} == {torch.bfloat16}


def test_a_model_with_spare_rows_loses_them() -> None:
    made = extend_vocabulary(model(OLD, vocab_size=64), OLD, NEW)
    assert made.module.config.vocab_size == NEW.vocab_size


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(TokenizerError, match="does not belong"):
        extend_vocabulary(model(OLD, vocab_size=OLD.vocab_size - 1), OLD, NEW)


def test_pieces_of_a_unigram_vocabulary_stand_inside_a_word_or_open_it() -> None:
    old = unigram(["▁", "▁heart", "heart", "beat", "s", "▁a"])
    new = unigram(["▁", "▁heartbeat", "heartbeats", "▁beat", "a"])
    module = model(old)
    before = module.encoder.embeddings.word_embeddings.weight.detach()
    after = extend_vocabulary(module, old, new).module.encoder.embeddings.word_embeddings.weight.detach()
    for token, pieces in {
        "▁": ["▁"],
        "▁heartbeat": ["▁heart", "beat"],
        "heartbeats": ["heart", "beat", "s"],
        "▁beat": ["▁", "beat"],
        "a": ["▁a"],
    }.items():
        assert torch.equal(after[new.token_to_id(token)], mean_of(old, before, *pieces)), token


def test_a_vocabulary_of_the_other_kind_is_matched_by_text() -> None:
    new = unigram(["▁heart", "beat", "▁beats", "心", "▁"])
    module = model(OLD)
    before = module.encoder.embeddings.word_embeddings.weight.detach()
    made = extend_vocabulary(module, OLD, new)
    after = made.module.encoder.embeddings.word_embeddings.weight.detach()
    for token, pieces in {"▁heart": ["heart"], "beat": ["##beat"], "▁beats": ["beat", "##s"], "心": ["心"]}.items():
        assert torch.equal(after[new.token_to_id(token)], mean_of(OLD, before, *pieces)), token
    assert (made.report.copied, made.report.averaged, made.report.fresh_tokens) == (5, 4, ("▁",))


def test_the_extended_model_is_saved_and_loaded_with_its_tokenizer(tmp_path: Path) -> None:
    made = extend_vocabulary(model(OLD), OLD, NEW).module.eval()
    save_encoder(made, NEW, tmp_path / "extended")
    loaded, tokenizer = load_pretraining(tmp_path / "extended")
    assert tokenizer is not None
    assert tokenizer.vocab_size == NEW.vocab_size
    saved, own = loaded.state_dict(), made.state_dict()
    assert all(torch.equal(saved[name], own[name]) for name in own)
