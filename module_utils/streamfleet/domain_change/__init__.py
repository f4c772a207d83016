"""A host name that is replaced by another: what that changes on hosts and in files, and how far it has come."""
