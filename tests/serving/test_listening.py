"""How connections come in, on uvicorn's own server and event loop."""

import asyncio
import os
import resource
import socket
from contextlib import ExitStack
from itertools import pairwise

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn import Config

from serving.listening import ACCEPTS, Server, install


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nothing is asked")


async def accepted_by_turn(server: Server, listener: socket.socket, clients: int) -> list[int]:
    """Of `clients` that all have connected before the first turn; turns in which none is accepted are left out."""
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    with ExitStack() as stack:
        for _ in range(clients):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        counts = [0]
        async with asyncio.timeout(10):
            while counts[-1] < clients:
                await asyncio.sleep(0)
                counts.append(len(server.server_state.connections))
    server.should_exit = True
    await serving
    return [after - before for before, after in pairwise(counts) if after > before]


def test_connections_that_are_opened_together_are_accepted_many_a_turn() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        server = Server(Config(refuse, lifespan="off", log_config=None, ws="none"))
        turns = uvloop.run(accepted_by_turn(server, listener, 4 * ACCEPTS))
        assert len(turns) <= 5
        assert max(turns) == ACCEPTS
        with pytest.raises(ConnectionRefusedError):  # as one copy alone that was left would not do
            socket.create_connection(address)


def test_a_worker_that_starts_makes_no_other_wait_in_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it waits is a property of the socket, which all workers share."""
    seen: list[bool] = []

    async def serve(self: uvicorn.Server, sockets: list[socket.socket]) -> None:
        seen.extend(os.get_blocking(one.fileno()) for one in sockets)
        for copy in sockets[1:]:
            copy.close()

    monkeypatch.setattr(uvicorn.Server, "serve", serve)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_blocking(listener.fileno(), False)  # by the other
        asyncio.run(Server(Config(refuse)).serve([listener]))
    assert seen == [False] * ACCEPTS


def test_a_worker_may_open_what_its_user_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn, "Server", uvicorn.Server)
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most // 2, most))
        install()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
