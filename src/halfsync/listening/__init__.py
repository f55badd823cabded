"""Listening sockets: those that are asked for, those that are inherited, and those that are open."""
