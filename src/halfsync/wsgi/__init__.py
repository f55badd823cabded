"""The bridge between a complete HTTP request and a WSGI application (PEP 3333)."""
