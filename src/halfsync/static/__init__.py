"""Static files: the thread that has the connection finds, opens and answers them, without the GIL or a worker."""
