"""A process as its system sees it: its user, pidfile, title, working directory and service manager."""
