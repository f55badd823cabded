"""The lab: the four models measured against each other, and against what is said of servers.

`halfsync compare` and `halfsync tune` are its commands. It starts servers by halfsync's command line and reads what
they cost from the kernel, as anyone could from outside; of halfsync it imports only the errors. decisions/0040 has the
design.
"""
