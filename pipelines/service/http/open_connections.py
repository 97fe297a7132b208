"""Which connections of a worker are idle, and which idle one is closed to make room for another.

A client that connects and sends nothing costs almost nothing to it. So the connections of one address, and of all
together, are bounded: the one that has been idle longest is closed. Requests in progress are never closed here.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from pipelines.service.http.clients import address_group, is_trusted


class OpenConnections:
    """The connections of one worker."""

    def __init__(self, *, trusted_proxies: Sequence[str], at_most: int, idle_per_address: int) -> None:
        """Prepare; there is no connection yet.

        Args:
            trusted_proxies: addresses or networks whose connections carry many clients: only the total bounds them.
            at_most: connections of all addresses, busy ones included, before idle ones are closed.
            idle_per_address: idle connections of one address; of IPv6 one /64 network.
        """
        self._trusted_proxies = trusted_proxies
        self._at_most = at_most
        self._idle_per_address = idle_per_address
        self._open = 0
        self._idle: dict[asyncio.Transport, str] = {}
        self._idle_of: defaultdict[str, dict[asyncio.Transport, None]] = defaultdict(dict)

    def opened(self, connection: asyncio.Transport, host: str) -> None:
        """A client has connected and sent nothing yet.

        Args:
            connection: of the client.
            host: the client's address.
        """
        self._open += 1
        self.became_idle(connection, host)
        if self._open > self._at_most:
            self._close_longest_idle(self._idle)

    def became_idle(self, connection: asyncio.Transport, host: str) -> None:
        """A connection has no request in progress from now on.

        Args:
            connection: of the client.
            host: the client's address.
        """
        address = address_group(host)
        self._idle[connection] = address
        theirs = self._idle_of[address]
        theirs[connection] = None
        if len(theirs) > self._idle_per_address and not is_trusted(host, self._trusted_proxies):
            self._close_longest_idle(theirs)

    def became_busy(self, connection: asyncio.Transport) -> None:
        """A connection has a request in progress from now on."""
        address = self._idle.pop(connection, None)
        if address is not None:
            theirs = self._idle_of[address]
            theirs.pop(connection, None)
            if not theirs:
                del self._idle_of[address]

    def closed(self, connection: asyncio.Transport) -> None:
        """A connection has ended."""
        self._open -= 1
        self.became_busy(connection)

    def _close_longest_idle(self, among: dict[asyncio.Transport, None] | dict[asyncio.Transport, str]) -> None:
        longest = next(iter(among), None)
        if longest is not None:
            self.became_busy(longest)
            longest.abort()
