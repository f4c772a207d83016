"""Doubles: small stand-ins for programs and servers that a test does not run, named as such."""
