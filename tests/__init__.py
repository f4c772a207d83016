"""Tests of Streamfleet, and the tools that they share."""
