"""The version, for whoever needs it without the rest of the package."""

VERSION = "0.1.0"
