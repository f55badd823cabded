"""Python as a server needs it: copies of what an application may replace, threads, forks, signals, output."""
