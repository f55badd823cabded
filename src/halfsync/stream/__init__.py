"""Raw TCP: handlers for protocols that are not HTTP."""
