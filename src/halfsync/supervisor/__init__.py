"""Several serving processes under one that watches them: starts, replaces, reaps and ends them."""
