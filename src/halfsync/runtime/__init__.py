"""Python, adapted for a server: copies of what an application may replace, threads, forks, signals, output."""
