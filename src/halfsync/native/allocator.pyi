def keep_freed_memory() -> bool:
    """Let malloc keep some of the freed memory; for a process that is a server. False: it was not set."""
