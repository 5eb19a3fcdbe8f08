"""Parameters, MACs, latency, training-step time and peak memory of networks."""
