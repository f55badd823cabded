from halfsync.exchange.bridging import Bridge
from halfsync.stream.handler import StreamFactory

class StreamBridge(Bridge):
    def __init__(self, factory: StreamFactory) -> None: ...
