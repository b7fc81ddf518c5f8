"""What is written in one turn of the event loop leaves in one piece."""

import asyncio
from typing import Any


class JoiningTransport:
    """uvicorn writes the head of an answer and its body: two system calls, two packets, two wakings of the client."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self.loop = loop
        self.pending: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self.pending:
            self.loop.call_soon(self.flush)
        self.pending.append(data)

    def close(self) -> None:
        self.flush()
        self.transport.close()

    def abort(self) -> None:
        self.pending.clear()
        self.transport.abort()

    def flush(self) -> None:
        """Now, and not after what the loop does next."""
        data, self.pending = b"".join(self.pending), []
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)
