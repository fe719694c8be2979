"""Hands on numbers: metrics, intervals, tests and times, from arrays alone."""
