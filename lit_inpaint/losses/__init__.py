"""Losses as pure functions of tensors; modules only where weights live."""
