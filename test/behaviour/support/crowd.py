"""Many clients that log in at once, and one that must not notice."""

import resource
import selectors

from support import wire


def allow_descriptors(count):
    """For this process, which may have more already; the pooler raises its own limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= count
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Crowd:
    """Clients that have sent their password and wait for what comes."""

    def __init__(self, pooler, count, user="bob", password="pw"):
        allow_descriptors(4096)
        self.clients = []
        for _ in range(count):
            client = pooler.wire(timeout=6 * wire.TIMEOUT)
            client.startup(user, "p0")
            assert client.expect("R").body == b"\0\0\0\3"
            client.send("p", wire.cstring(password))
            self.clients.append(client)

    def answered(self, seconds=0.0):
        """Those for whom something has arrived."""
        with selectors.DefaultSelector() as selector:
            for client in self.clients:
                selector.register(client.sock, selectors.EVENT_READ, client)
            return [key.data for key, _ in selector.select(seconds)]

    def failures(self):
        """The texts of all, when the last one has its own; each connection ends with it."""
        texts = []
        for client in self.clients:
            fields = wire.parse_fields(client.expect("E").body)
            assert (fields["S"], fields["C"]) == ("FATAL", "08P01")
            texts.append(fields["M"])
            client.expect_eof()
        return texts
