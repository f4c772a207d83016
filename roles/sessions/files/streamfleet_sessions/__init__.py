"""Records who listened, and adds up what was sent. Runs on a node; needs nothing but Python."""
