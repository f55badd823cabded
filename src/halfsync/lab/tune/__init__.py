"""`halfsync tune`: an application measured, a model of its capacity fitted, settings swept, and one recommended.

First one process is measured: what a request takes, and what more threads give (`turns`, `scalability`). From this
follow the settings that may be good (`candidates`). They are measured under more load than they can serve, the better
half for longer each time (`halving`), and the best of them beside the default (`choosing`). It only ever loads a server
that it has started itself, on 127.0.0.1.
"""
