"""Files of media services on their way to another node: the one that gets them fetches them from the other."""
