"""Losses as pure functions of tensors; modules only for networks with weights."""
