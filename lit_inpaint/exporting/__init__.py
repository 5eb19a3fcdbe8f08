"""Export a trained network to ONNX, `torch.export` and safetensors, and check each export against the network."""
