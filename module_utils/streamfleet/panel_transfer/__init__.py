"""The panel moves to another host: what each of the two does, step by step, and where that is noted."""
