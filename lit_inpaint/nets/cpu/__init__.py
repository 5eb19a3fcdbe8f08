"""Faster CPU forms of torch layers with equal outputs."""
