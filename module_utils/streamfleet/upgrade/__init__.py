"""What an upgrade does on the panel's host: read-only, a snapshot, the gate, and the way back. Runs there."""
