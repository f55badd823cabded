"""The sockets that listen: what is asked for, what is inherited, and what is open."""
