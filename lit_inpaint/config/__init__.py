"""Configuration: YAML files and command-line options, checked settings, one-line error messages, entry point of commands."""
