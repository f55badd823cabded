"""The WSGI application behind a2wsgi, which is how uvicorn's authors advise to run WSGI on it."""

# Imported by name: both modules exist only where the server runs, in the benchmark's own environment.
from importlib import import_module

app = import_module("a2wsgi").WSGIMiddleware(import_module("app").app, workers=4)
