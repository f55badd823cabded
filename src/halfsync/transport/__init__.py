"""How the bytes of a connection move: nothing else touches a client's socket."""
