"""Python wrappers of native pieces for their unit tests. They hand out raw pointers, so no release contains them."""
