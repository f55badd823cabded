"""Loading what the user names: the application, and the hooks."""
