"""Candidates > Report: encoders and baselines trained and measured side by side, and what follows from the numbers."""
