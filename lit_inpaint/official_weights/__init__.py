"""Names and conversion of the weights of papers' public PyTorch code; one module per paper, named like the paper's."""
