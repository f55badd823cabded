"""Static files: found, opened and answered by whoever has the connection, without the GIL and without a worker."""
