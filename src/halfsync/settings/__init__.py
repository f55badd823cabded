"""Every setting of the server: declared once, and read from flags, the environment, a file and defaults."""

from halfsync.settings.declaration import BY_NAME, GROUPS, SETTINGS, Given, Setting, Settings
from halfsync.settings.sources import resolve

__all__ = ["BY_NAME", "GROUPS", "SETTINGS", "Given", "Setting", "Settings", "resolve"]
