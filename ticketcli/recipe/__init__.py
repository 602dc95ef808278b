"""Strict YAML, frozen configs, and recipes resolved to steps."""
