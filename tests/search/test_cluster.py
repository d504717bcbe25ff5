"""Joining a cluster that is not there is refused at once; starting one here is tested with the studies that run."""

from __future__ import annotations

import socket
import time

import pytest

from search.cluster import ClusterError, connect


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("address", [f"127.0.0.1:{closed_port()}", f"ray://127.0.0.1:{closed_port()}", "127.0.0.1:x"])
def test_an_address_where_nobody_answers_is_refused_at_once(address: str) -> None:
    start = time.monotonic()
    with pytest.raises(ClusterError, match="no Ray cluster answers there") as caught:
        connect(address)
    assert time.monotonic() - start < 10
    assert f"--address {address}: " in str(caught.value)
