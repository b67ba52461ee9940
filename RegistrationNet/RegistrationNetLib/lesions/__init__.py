"""Lesions across timepoints: pure; images, mappings and outlines in, tables and events out."""
