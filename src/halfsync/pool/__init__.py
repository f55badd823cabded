"""The queue of requests, and the threads that take from it."""
