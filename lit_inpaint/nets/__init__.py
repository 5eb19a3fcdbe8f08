"""Network blocks that more than one paper uses."""
