"""Where pages find their style sheets and scripts."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage  # type: ignore[import-untyped]


class AssetStorage(CompressedManifestStaticFilesStorage):
    """Hashed, compressed files as collectstatic left them; without them pages are plain, but they are there."""

    manifest_strict = False

    def stored_name(self, name: str) -> str:
        """The hashed name, else the name itself: an error page must not fail over a missing style sheet."""
        try:
            return str(super().stored_name(name))
        except ValueError:
            return name
