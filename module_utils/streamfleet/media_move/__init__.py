"""The media libraries of a node on a disk of their own: moved there, and back, while what is played goes on."""
