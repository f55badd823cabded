"""The probes: requests about the server itself, and their answers."""
