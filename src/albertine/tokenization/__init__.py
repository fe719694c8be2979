"""Texts to token ids with character offsets: hands on `Tokens`."""
