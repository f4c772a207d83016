"""Keys and certificates of our own authority, by python3-cryptography. Private keys never leave their host."""
