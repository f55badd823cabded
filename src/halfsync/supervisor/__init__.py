"""Several serving processes: who watches, replaces and reaps them, and what a process is to the system."""
