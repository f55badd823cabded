STYLES: dict[str, int]
VALUES: dict[str, int]

class AccessFormat:
    def __init__(self, text: str, line_bytes: int = ...) -> None: ...
