"""The benchmark: halfsync, its peers, and a lower limit for all of them (`make bench`)."""
