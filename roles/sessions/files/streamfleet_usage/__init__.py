"""Measures what services use, and holds their bitrate. Runs on a node; needs nothing but Python."""
