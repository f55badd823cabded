"""The command that this application replaces."""
