"""Sources that several experiments name."""

TUTORIAL = "Processes and Threads, a tutorial on servers (in Chinese)"
"""The text that many of the claims come from."""
OWN_2026 = "measured by the authors on a virtual machine with 2 processors, November 2026"
FORK_IN_THE_ROAD = "Baumann et al., A fork() in the road, HotOS 2019, figure 1"
