"""Configuration: from YAML files and command-line options to checked settings, and one-line error messages."""
