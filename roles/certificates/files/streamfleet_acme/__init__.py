"""Has a host's certificates issued by an ACME directory, by lego, and puts them in place.

Four programs of two users. Of the client's: ``order`` for the host's own names and ``domains`` for its tenants', which
talk to the directory and never see a private key of the host. Of root: ``keys``, which makes keys and requests for
tenants' names, and ``install``; these talk to nobody.
"""
