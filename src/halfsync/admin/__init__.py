"""What a server answers about itself, on `admin_bind`."""
