"""Why weights and configuration do not fit: the probable cause, and what to do about it."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from albertine.checkpoints.huggingface import ReadConfig
from albertine.checkpoints.report import Reshaped
from albertine.checkpoints.source import StoredTensor, TensorSource
from albertine.models.config import EncoderConfig

if TYPE_CHECKING:
    from albertine.checkpoints.matching import Match

__all__ = ["GENERAL_STEP", "likely_cause"]

GENERAL_STEP = "Use the configuration that was saved with these weights, and check its model_type"
"""What is said where nothing is known about the cause."""

# Vocabularies that many published models share, by their number of rows.
_VOCABULARIES = {
    18_000: "ERNIE 1.0",
    21_128: "Chinese BERT and ALBERT",
    28_996: "English BERT, cased",
    30_000: "English ALBERT",
    30_522: "English BERT, uncased",
    31_090: "SciBERT, uncased",
    50_265: "RoBERTa",
    105_879: "multilingual BERT, uncased",
    119_547: "multilingual BERT, cased",
    250_002: "XLM-RoBERTa",
}

_WORDS = "encoder.embeddings.word_embeddings.weight"
_POSITIONS = "encoder.embeddings.position_embeddings.weight"
_SEGMENTS = "encoder.embeddings.token_type_embeddings.weight"
_PROJECTION = "encoder.embeddings.projection.weight"
_HEADS = ("classifier.", "qa_outputs.", "masked_word_head.", "pair_head.", "pooling.")
_TASK_HEADS = ("classifier.", "qa_outputs.")

_ADAPTER = re.compile(
    r"(?:^|[._/])(?:lora_[AB]|lora_(?:embedding|magnitude)\w*|ia3_l|prompt_embeddings|adapters?|hada_w\d_[ab]|lokr_w\d)"
    r"(?=[._/]|$)"
)
# Numbers that only make sense beside a scale, and the names of such scales.
_PACKED = frozenset((torch.int8, torch.uint8, torch.quint8, torch.qint8, torch.float8_e4m3fn, torch.float8_e5m2))
_SCALE = re.compile(
    r"\.(?:SCB|qweight|qzeros|g_idx|absmax|quant_map|quant_state\.\w+|weight_scale|_packed_params\.\w+)$"
)
_GOOGLE = re.compile(r"(?:^|/)bert/(?:embeddings|encoder|pooler)/")
_ALBERT_FILE = re.compile(r"albert_layer_groups\.|embedding_hidden_mapping_in|/layer_shared|/group_\d+/inner_group_\d")
_BERT_FILE = re.compile(r"(?:^|\.)encoder\.layer\.\d+\.attention\.self\.|/encoder/layer_\d+/attention/")
# The number of a layer, or those of a group and an inner block, in the names of every layout.
_LAYER = re.compile(r"(?:encoder\.layer\.|/encoder/layer_)(\d+)[./]")
_GROUP = re.compile(r"(?:albert_layer_groups\.|/group_)(\d+)[./](?:albert_layers\.|inner_group_)(\d+)[./]")
_BLOCK = re.compile(r"(?:^|\.)attention_blocks\.(\d+)\.")
# Names that only these architectures have; the first that occurs is named.
_FOREIGN = (
    ("DistilBERT", re.compile(r"^distilbert\.|(?:^|\.)transformer\.layer\.\d+\.attention\.q_lin\.")),
    ("RoBERTa", re.compile(r"^(?:xlm_)?roberta\.|^camembert\.|^lm_head\.dense\.")),
    ("ELECTRA", re.compile(r"^electra\.|^(?:discriminator|generator)_predictions\.|(?:^|\.)embeddings_project\.")),
    ("DeBERTa", re.compile(r"^deberta\.|(?:^|\.)rel_embeddings\.|\.attention\.self\.(?:query|in)_proj\.")),
    ("MPNet", re.compile(r"^mpnet\.|\.attention\.attn\.q\.")),
    ("MobileBERT", re.compile(r"^mobilebert\.|(?:^|\.)embedding_transformation\.")),
    ("ERNIE", re.compile(r"^ernie\.|(?:^|\.)task_type_embeddings\.")),
    ("NEZHA", re.compile(r"^nezha\.")),
    ("RoFormer", re.compile(r"^roformer\.")),
    ("Longformer", re.compile(r"^longformer\.|\.self\.query_global\.")),
    ("ModernBERT", re.compile(r"(?:^|\.)layers\.\d+\.attn\.Wqkv\.")),
    ("XLNet", re.compile(r"\.rel_attn\.")),
    ("GPT-2", re.compile(r"(?:^|\.)h\.\d+\.attn\.c_attn\.|(?:^|\.)wte\.weight$")),
    ("T5", re.compile(r"\.SelfAttention\.q\.")),
    ("BART", re.compile(r"(?:^|\.)encoder\.layers\.\d+\.self_attn\.k_proj\.")),
    ("Llama or a model built like it", re.compile(r"(?:^|\.)layers\.\d+\.(?:self_attn\.q_proj|mlp\.gate_proj)\.")),
    ("a vision model", re.compile(r"(?:^|\.)(?:patch_embeddings?|vision_model)\.")),
)
_HEAD_IN_FILE = re.compile(
    r"^(?:bert\.|albert\.)?(?:classifier|qa_outputs|cls|predictions|sop_classifier|pooler|masked_word_head|pair_head"
    r"|logits_proj|linear|score|dense)[./]"
)
_NAMED_AT_MOST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """Everything that is known, put so that each rule below can ask for it."""

    config: EncoderConfig
    google: bool
    """Whether the names of Google's code were looked for."""
    entries: Mapping[str, StoredTensor]
    found: int
    """Tensors of the model that are there."""
    missing: Mapping[str, str]
    reshaped: Mapping[str, Reshaped]

    def matches(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the names in the file in which the pattern occurs."""
        return [name for name in self.entries if pattern.search(name)]


def likely_cause(found: Match, source: TensorSource, read: ReadConfig) -> str:
    """Name the probable reason why weights do not fit their configuration, and the next step.

    Only names, shapes and types are looked at, never values, and nothing is read from disk.

    Args:
        found: what of the file found its place, and what did not.
        source: the file.
        read: its configuration, and whose names were looked for.

    Returns:
        One or two sentences without the last full stop; `GENERAL_STEP`, which claims nothing, where no cause is known.
    """
    case = _Case(
        config=read.config,
        google=read.layout not in ("bert", "albert", "albertine"),
        entries=source.entries,
        found=len(found.found),
        missing=found.missing,
        reshaped=found.reshaped,
    )
    for rule in _RULES:
        cause = rule(case)
        if cause is not None:
            return cause
    return GENERAL_STEP


def _empty(case: _Case) -> str | None:
    if case.entries:
        return None
    return "The file holds no tensors at all: writing it was probably cut off. Copy or download it again"


def _adapter(case: _Case) -> str | None:
    names = case.matches(_ADAPTER)
    if not names:
        return None
    if 2 * len(names) >= len(case.entries):
        return (
            f"The file holds an adapter only ({_some(names)}), not the model it was trained on. Merge it into that "
            "model with the library that wrote it (peft: merge_and_unload), and save the result"
        )
    return (
        f"An adapter lies unmerged beside the weights ({_some(names)}). Merge it with the library that wrote it "
        "(peft: merge_and_unload), and save the result"
    )


def _quantized(case: _Case) -> str | None:
    names = case.matches(_SCALE) or [
        name for name, entry in case.entries.items() if entry.dtype in _PACKED and len(entry.shape) > 1
    ]
    if not names:
        return None
    kinds = sorted(
        {str(entry.dtype).removeprefix("torch.") for entry in case.entries.values() if entry.dtype in _PACKED}
    )
    kind = f" to {', '.join(kinds)}" if kinds else ""
    return (
        f"The weights are quantized{kind} ({_some(names)}), a form that belongs to the program that wrote it. Use the "
        "model's float32, float16 or bfloat16 weights"
    )


def _google_names(case: _Case) -> str | None:
    names = case.matches(_GOOGLE)
    if not names or case.google:
        return None
    return (
        f"The tensors have the names of Google's TensorFlow code ({_some(names)}) in a file that should have Hugging "
        "Face's. Open the original checkpoint (its .index and .data files with bert_config.json or albert_config.json)"
    )


def _other_architecture(case: _Case) -> str | None:
    if case.found > len(case.missing):
        return None  # a foreign part beside an encoder is not what keeps the encoder from loading
    for architecture, pattern in _FOREIGN:
        names = case.matches(pattern)
        if names:
            return (
                f"The tensors are those of {architecture} ({_some(names)}), another architecture than BERT and ALBERT, "
                "whatever the configuration says. Use a checkpoint of BERT or ALBERT"
            )
    return None


def _prefixed(case: _Case) -> str | None:
    """Find the wanted names behind a prefix that nobody expects, as a model inside another one has."""
    wanted = {
        re.sub(r"^(?:bert|albert)\.", "", place) for name, place in case.missing.items() if not name.startswith(_HEADS)
    }
    prefixes: Counter[str] = Counter()
    for name in case.entries:
        parts = name.split(".")
        cuts = (cut for cut in range(1, len(parts)) if ".".join(parts[cut:]) in wanted)
        prefixes.update(".".join(parts[:cut]) + "." for cut in itertools.islice(cuts, 1))
    if not prefixes:
        return None
    prefix, count = prefixes.most_common(1)[0]
    if 2 * count < len(wanted):
        return None
    return (
        f"The encoder's tensors are there, with {prefix!r} in front of their names: the model was saved as a part of "
        "another one. Save that part by itself, or take the prefix off the names"
    )


def _other_family(case: _Case) -> str | None:
    """Tell an ALBERT's file under a BERT's configuration, and the other way round."""
    albert, bert = case.matches(_ALBERT_FILE), case.matches(_BERT_FILE)
    looked_for = tuple(case.missing.values())
    if albert and not bert and _any(_BERT_FILE, looked_for):
        return (
            f"The file is an ALBERT's ({_some(albert)}) and the configuration a BERT's. Use the config.json that "
            'belongs to the file; its model_type is "albert"'
        )
    if bert and not albert and _any(_ALBERT_FILE, looked_for):
        return (
            f"The file is a BERT's ({_some(bert)}) and the configuration an ALBERT's. Use the config.json that "
            'belongs to the file; its model_type is "bert"'
        )
    return None


def _head_only(case: _Case) -> str | None:
    others = [name for name in case.entries if not _HEAD_IN_FILE.match(name)]
    if others or not case.missing:
        return None
    return (
        f"The file holds a head only ({_some(case.entries)}) and no encoder. Use the whole model that it was trained "
        "with, encoder included"
    )


def _blocks(case: _Case) -> str | None:
    """Compare the numbers of layers, groups and inner blocks in the file with the configuration's."""
    config = case.config
    pairs = _numbers(_GROUP, case.entries)
    own = config.num_hidden_layers if config.share == "none" else config.num_hidden_groups
    groups, inner = len({group for group, _ in pairs}), len({inner for _, inner in pairs})
    if pairs and (groups, inner) != (own, config.inner_group_num):
        return (
            f"The file has {_count(groups, 'group')} with {_count(inner, 'inner block')} each, the configuration says "
            f"{_count(own, 'group')} with {_count(config.inner_group_num, 'inner block')}. Use the configuration that "
            "belongs to the file (num_hidden_groups and inner_group_num)"
        )
    blocks = {block for (block,) in _numbers(_BLOCK, case.entries)}
    if blocks and len(blocks) != config.num_attention_blocks:
        return (
            f"The file has {_count(len(blocks), 'attention block')}, the configuration asks for "
            f"{config.num_attention_blocks}. Use the configuration that belongs to the file (num_hidden_layers, "
            "num_hidden_groups, inner_group_num and share)"
        )
    layers = sorted(layer for (layer,) in _numbers(_LAYER, case.entries))
    if not layers or len(layers) == config.num_hidden_layers:
        return None
    if len(layers) < config.num_hidden_layers and (layers[0] > 0 or _WORDS in case.missing):
        return (
            f"Only the layers {layers[0]} to {layers[-1]} of {config.num_hidden_layers} are in the file: it is "
            "probably one of several parts. Put all parts and their index file into one folder"
        )
    return (
        f"The file has {_count(len(layers), 'layer')}, the configuration says {config.num_hidden_layers}. Use the "
        "configuration that belongs to the file (num_hidden_layers)"
    )


def _words(case: _Case) -> str | None:
    table = case.reshaped.get(_WORDS)
    if table is None or len(table.found) != 2:
        return None
    (rows, width), (expected_rows, expected_width) = table.found, table.expected
    if width == expected_width:
        return (
            f"The file's vocabulary has {_vocabulary(rows)}, the configuration's {_vocabulary(expected_rows)}: they "
            "belong to different models. Use config.json and the vocabulary that were saved with these weights"
        )
    projection = case.reshaped.get(_PROJECTION)
    if width == case.config.hidden_size and projection is not None and projection.found == projection.expected[::-1]:
        return (
            f"The file's word embeddings are {width} wide and the configuration's {expected_width}, and its projection "
            "has the same two sizes the other way round: embedding_size and hidden_size seem to be swapped. Swap them "
            "in the configuration"
        )
    return (
        f"The file's word embeddings are {width} wide, the configuration says {expected_width}: it is the "
        "configuration of a model of another size. Use the one that was saved with these weights"
    )


def _tables(case: _Case) -> str | None:
    """Look at the smaller tables and the inner width, once words and layers agree."""
    for name, field, hint in (
        (_POSITIONS, "max_position_embeddings", {514: "; 514 rows are RoBERTa's, which counts positions differently"}),
        (_SEGMENTS, "type_vocab_size", {16: "; 16 is the default of Google's BERT code", 1: "; 1 is RoBERTa's"}),
    ):
        table = case.reshaped.get(name)
        if table is None:
            continue
        rows, expected = table.found[0], table.expected[0]
        if table.found[1:] != table.expected[1:]:
            return _width(table)
        return (
            f"{table.name} has {_count(rows, 'row')} in the file, and {field} says {expected}{hint.get(rows, '')}. Set "
            f"{field} to {rows}, or use the configuration that was saved with these weights"
        )
    for name, reshaped in case.reshaped.items():
        if name.endswith(".intermediate.bias") and name.startswith("encoder."):
            return (
                f"The feed-forward parts of the file are {reshaped.found[0]} wide, the configuration says "
                f"{reshaped.expected[0]}. Set intermediate_size to {reshaped.found[0]}, or use the configuration that "
                "was saved with these weights"
            )
    return None


def _width(table: Reshaped) -> str:
    return (
        f"{table.name} is {table.found[-1]} wide in the file, the configuration says {table.expected[-1]}: it is the "
        "configuration of a model of another size. Use the one that was saved with these weights"
    )


def _head(case: _Case) -> str | None:
    """Recognise an encoder that is whole, under a head that is not the one that was asked for."""
    names = {**case.missing, **case.reshaped}
    if not names or not all(name.startswith(_HEADS) for name in names):
        return None
    for name, table in case.reshaped.items():
        if name.startswith(_TASK_HEADS) and table.found[1:] == table.expected[1:]:
            return (
                f"Only the fine-tuned head differs: {table.name} has {_count(table.found[0], 'label')} in the file, "
                f"the configuration has {table.expected[0]}. Use the config.json of the fine-tuned model, with its "
                "id2label, or open the encoder alone"
            )
    places = [*case.missing.values(), *(table.name for table in case.reshaped.values())]
    return (
        f"The encoder is complete, only a head differs ({_some(places)}). Open the encoder alone, and train a new head"
    )


# In this order: what explains everything comes before what explains a part.
_RULES: tuple[Callable[[_Case], str | None], ...] = (
    _empty,
    _adapter,
    _google_names,
    _other_architecture,
    _quantized,
    _prefixed,
    _other_family,
    _head_only,
    _head,
    _blocks,
    _words,
    _tables,
)


def _numbers(pattern: re.Pattern[str], names: Iterable[str]) -> set[tuple[int, ...]]:
    return {tuple(map(int, match.groups())) for name in names if (match := pattern.search(name))}


def _any(pattern: re.Pattern[str], names: Iterable[str]) -> bool:
    return any(pattern.search(name) for name in names)


def _vocabulary(rows: int) -> str:
    known = _VOCABULARIES.get(rows)
    return f"{rows:,} entries ({known})" if known else f"{rows:,} entries"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _some(names: Iterable[str]) -> str:
    """Show the first few of many names."""
    listed = sorted(names)
    more = ", …" if len(listed) > _NAMED_AT_MOST else ""
    return ", ".join(listed[:_NAMED_AT_MOST]) + more
