"""One request and its response: what was received of it, what is to be sent, and the limits of both."""
