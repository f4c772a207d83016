"""Benchmarks that print ratios: each figure and its base are measured in one run, on one machine."""
