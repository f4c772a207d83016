"""Has a host's certificates issued by an ACME directory, by lego, and puts them in place.

Two programs of two users: the client, which talks to the directory and never sees a private key of the host, and the
installer, which talks to nobody.
"""
