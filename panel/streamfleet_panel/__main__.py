"""``python -m streamfleet_panel`` is the console script ``streamfleet-panel``."""

from __future__ import annotations

from streamfleet_panel.cli import main

if __name__ == "__main__":
    main()
