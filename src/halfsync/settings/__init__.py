"""Every setting of the server: declared once, and read from flags, the environment, a file and defaults."""

from halfsync.settings.declaration import BY_NAME, SETTINGS
from halfsync.settings.setting import GROUPS, Setting
from halfsync.settings.settings import Given, Settings
from halfsync.settings.sources import resolve

__all__ = ["BY_NAME", "GROUPS", "SETTINGS", "Given", "Setting", "Settings", "resolve"]
