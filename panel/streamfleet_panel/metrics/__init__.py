"""Figures for Prometheus at ``/metrics``; docs/metrics.md names them all."""
