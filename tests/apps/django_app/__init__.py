"""The routes in Django: a small project of the usual shape."""
