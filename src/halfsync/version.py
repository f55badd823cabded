"""The version, for code that needs it without the rest of the package."""

VERSION = "0.1.0"
