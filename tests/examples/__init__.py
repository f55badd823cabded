"""Tests of the handlers in examples/, without a server."""
