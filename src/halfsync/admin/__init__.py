"""What a server answers about itself: the probes."""
