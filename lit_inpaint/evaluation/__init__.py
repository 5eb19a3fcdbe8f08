"""Evaluation: methods scored on the same samples, classical baselines, comparison tables, partial results."""
