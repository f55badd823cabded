"""What processes share: the scoreboard, the hand-off queue and the counts of clients."""
