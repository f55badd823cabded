"""halfsync: a Python application server. Async where the network is, sync where your code is."""
