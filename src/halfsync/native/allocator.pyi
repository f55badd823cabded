def keep_freed_memory() -> bool:
    """Let malloc keep some of what is freed; for a process that is a server. False: it was not set."""
