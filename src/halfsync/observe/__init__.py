"""The logs of a server about its requests: the access log, and the reasons of refusals."""
