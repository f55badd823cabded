"""What processes share: the scoreboard, the queue of handed-over connections, the counts of clients."""
