"""Move the bytes of a connection: nothing else touches a client's socket."""
