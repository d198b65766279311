"""Synthetic cardiac MRI: build a data set, train a generator, sample it, and judge the result."""

__version__ = "0.1.0"
