"""Several serving processes, and the one that starts, watches, replaces, reaps and ends them."""
