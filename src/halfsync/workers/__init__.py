"""The sync half of the proactor: worker threads that run the application."""
