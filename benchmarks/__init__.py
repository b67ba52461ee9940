"""Measurements on real images; each module is a command."""
