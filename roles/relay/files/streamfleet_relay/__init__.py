"""What relays the streams of one station: in from others, out to others. See docs/relays.md and docs/contracts.md.

``guard`` says which addresses may be connected to, ``wire`` speaks to both ends, ``carry`` passes bytes on, ``keep``
does so again and again, ``station`` runs the relays of one station. It only passes on; what the bytes mean it does not
look at, but for titles.
"""
