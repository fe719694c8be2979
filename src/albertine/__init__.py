"""BERT and ALBERT text encoders, Chinese and English: from raw text to a small, fast, checked model.

import albertine as al

report = al.compare("reviews.csv", out="runs/compare")
model = al.finetune("text-classification", data="reviews.csv", encoder="preset:albert-chinese-tiny", out="runs/reviews")
model = al.load("runs/reviews")
model.predict(["很好吃", "太慢了"])
"""

from __future__ import annotations

import importlib

__version__ = "0.7.0"

# Every public name and the module it lives in (with the name it has there, where that differs).
# Imported when first used, so that `import albertine` costs nothing.
_PLACES = {
    "AlbertineError": "albertine.errors",
    "Batch": "albertine.records",
    "CheckpointError": "albertine.errors",
    "Columns": "albertine.data.columns",
    "ConfigError": "albertine.errors",
    "CorpusChoices": "albertine.batching.corpus.choices",
    "CorpusReport": "albertine.batching.corpus.report",
    "DataError": "albertine.errors",
    "Encoder": "albertine.models.encoder",
    "EncoderConfig": "albertine.models.config",
    "Example": "albertine.records",
    "Hit": "albertine.inference.search",
    "Index": "albertine.inference.search",
    "Methods": "albertine.training.methods.choices",
    "Model": "albertine.inference.model",
    "Prediction": "albertine.records",
    "PretrainingConfig": "albertine.training.pretraining.choices",
    "PretrainingModel": "albertine.models.heads",
    "ServerOptions": "albertine.serving.options",
    "Shards": "albertine.batching.shards",
    "Span": "albertine.records",
    "Tokenizer": "albertine.tokenization.tokenizer",
    "TokenizerError": "albertine.errors",
    "TrainingConfig": "albertine.training.config",
    "UserError": "albertine.errors",
    "bench": "albertine.inference.bench",
    "build_corpus": "albertine.batching.corpus.build",
    "check_data": "albertine.data.check",
    "compare": "albertine.comparison.compare",
    "compress": "albertine.compression.compress",
    "convert": "albertine.inference.conversion",
    "demo": "albertine.comparison.demo",
    "encode": "albertine.inference.vectors",
    "evaluate": "albertine.training.run",
    "finetune": "albertine.training.run",
    "index": "albertine.inference.search",
    "index_files": "albertine.inference.search",
    "info": "albertine.inference.info",
    "learn_vocab": "albertine.tokenization.learn",
    "load": "albertine.inference.loading",
    "load_encoder": "albertine.checkpoints.load",
    "VectorModel": "albertine.inference.vectors",
    "load_index": "albertine.inference.search",
    "load_pretraining": "albertine.checkpoints.load",
    "load_tokenizer": "albertine.tokenization.tokenizer",
    "load_vectors": "albertine.inference.vectors",
    "plan_pretraining": "albertine.training.pretraining.run",
    "predict": "albertine.inference.loading",
    "pretrain": "albertine.training.pretraining.run",
    "pretraining_defaults": "albertine.training.pretraining.choices",
    "repeat": "albertine.training.run",
    "save_encoder": "albertine.checkpoints.writing",
    "search": "albertine.inference.searching",
    "serve": "albertine.serving.server",
    "shipped_encoders": "albertine.shipped",
    "verify": "albertine.checkpoints.verify",
}

__all__ = [*sorted(_PLACES), "__version__"]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'albertine' has no attribute {name!r}")
    module, _, inner = _PLACES[name].partition(":")
    value: object = getattr(importlib.import_module(module), inner or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
