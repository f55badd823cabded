"""Faces of native pieces for their unit tests: they hand pointers to whoever asks, so no release holds them."""
