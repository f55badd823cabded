"""halfsync in the tools of frameworks and of pytest. No code of the server imports this."""
