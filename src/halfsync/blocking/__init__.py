"""The driver of the three blocking models: how a thread or a process serves its connection."""
