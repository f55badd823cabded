"""The benchmark: halfsync beside its peers and beside the floor under all of them (`make bench`)."""
