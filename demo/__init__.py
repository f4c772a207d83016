"""The demo: from nothing to streams on the air, on one test node, everything verified as a listener would."""
