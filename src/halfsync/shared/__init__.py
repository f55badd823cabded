"""What processes share: the scoreboard, the queue of handed-off connections, the counts of clients."""
