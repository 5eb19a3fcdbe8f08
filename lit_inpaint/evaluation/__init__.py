"""Evaluate several methods on the same samples, and write and print comparison tables."""
