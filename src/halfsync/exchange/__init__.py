"""One request and its response: what was received, what is to be sent, and the limits of both."""
