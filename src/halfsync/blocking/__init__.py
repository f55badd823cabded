"""The driver of the three blocking models: how a thread or a process serves the connection that it has."""
