"""What a process is to the system it runs on: its user, pidfile, title, working directory and service manager."""
