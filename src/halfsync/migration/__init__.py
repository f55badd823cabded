"""The way over from gunicorn: a file of settings in TOML, made from a gunicorn.conf.py."""
