"""Profile networks: parameters, MACs, latency, throughput, memory and training time, beside published figures."""
