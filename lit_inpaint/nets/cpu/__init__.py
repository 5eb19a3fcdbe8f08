"""Faster CPU forms of torch layers, with equal outputs; `layer_swap.use_fast_cpu_layers` puts them into a network."""
