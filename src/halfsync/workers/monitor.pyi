# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
