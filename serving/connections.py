"""What uvicorn leaves open: connections that never finish a request, and ever more of them."""

from typing import Any, ClassVar

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.drain import Drain


class Connection(HttpToolsProtocol):
    """Closed if a request, headers and body, is not complete `deadline_s` after it began, or after connecting."""

    deadline_s: ClassVar[float]
    max_connections: ClassVar[int]
    drain: ClassVar[Drain]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.deadline = None
        if self.drain.refusing or len(self.connections) > self.max_connections:
            transport.abort()
        else:
            self._expect()

    def data_received(self, data: bytes) -> None:
        if self.deadline is None:
            self._expect()
        super().data_received(data)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._arrived()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._arrived()

    def _expect(self) -> None:
        self.deadline = self.loop.call_later(self.deadline_s, self._give_up)

    def _arrived(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def _give_up(self) -> None:
        self.deadline = None
        if not self.transport.is_closing():
            self.transport.close()


def install(drain: Drain, deadline_s: float, max_connections: int) -> None:
    """BentoML leaves the choice of the protocol to uvicorn; this is what uvicorn chooses from then on."""
    Connection.drain = drain
    Connection.deadline_s = deadline_s
    Connection.max_connections = max_connections
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
