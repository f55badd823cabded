"""What a server tells about itself: so far the access log."""
