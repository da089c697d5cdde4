"""
Several clients at random on a pool of two servers, each beside a session of its own past the pooler
that gets the same bytes: the answers must be the same, as if each client had its own server.

PGWEIR_RANDOM_SECONDS=600 lets it run for ten minutes instead of a few seconds, PGWEIR_RANDOM_SEED=7
begins with that seed; a failure says the seed and the bytes.

Left out is what differs and is known to: a pipeline of several Syncs in a transaction, where a Parse
that need not travel does not meet the error of the part before it; and names that DEALLOCATE ends in
the same pipeline. The unnamed statement may be lost between two requests, but is never another one.
"""

import os
import random
import socket
import threading
import time

import pytest

from support import wire

CLIENTS = 5
SECONDS = float(os.environ.get("PGWEIR_RANDOM_SECONDS", "4"))
SEED = int(os.environ.get("PGWEIR_RANDOM_SEED", "0")) or random.randrange(1, 10 ** 6)

NAMES = ["a", "b", "c", "d"]
TEXTS = (["SELECT $1::int + %d" % number for number in range(6)]
         + ["SELECT 1 / (random() * 0 + $1::int - 3)::int", "SELECT nonsense", "SELECT generate_series(1, $1::int)", "",
            "SELECT count(*) FROM pg_class WHERE oid < $1::int", "SELEC"])
COMMANDS = ["BEGIN", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT x", "ROLLBACK TO x", "SELECT 5",
            "SELECT nonsense", "SELECT 1; SELECT 2", "DEALLOCATE ALL", "DISCARD ALL", "DEALLOCATE a",
            "DEALLOCATE PREPARE \"b\"", "DISCARD PLANS"]


class Walk(threading.Thread):
    """One client."""

    def __init__(self, pooler, pg, number, seed, end):
        super().__init__(name="client %d" % number)
        self.pooler, self.pg, self.number, self.end = pooler, pg, number, end
        self.draw = random.Random("%d %d" % (seed, number))
        self.failure, self.sent, self.rounds = None, b"", 0

    def connect(self):
        self.through = wire.Client("127.0.0.1", self.pooler.port).login("bob", "p0")
        self.direct = wire.Client("127.0.0.1", self.pg.port).login("bob", "p0")
        self.status = "I"

    def close(self):
        self.through.close()
        self.direct.close()

    # What is sent

    def step(self):
        """One message, or a few that belong together."""
        draw, name = self.draw, self.draw.choice(NAMES)
        kind = draw.randrange(12)
        if kind < 3:
            return wire.parse(draw.choice(TEXTS), name)
        if kind < 7:
            portal = draw.choice(["", "", "p"])
            return (wire.bind([draw.randrange(6)], name, portal)
                    + (wire.describe("P", portal) if draw.randrange(3) == 0 else b"")
                    + wire.execute(portal, draw.choice([0, 0, 2])))
        if kind < 9:
            return wire.describe("S", name)
        if kind == 9:
            text = draw.choice(TEXTS[-1:] + [self.unnamed_text(place) for place in range(4)])
            return wire.parse(text) + wire.bind([draw.randrange(6)]) + wire.execute()
        return wire.close("S", name)

    def unnamed_text(self, place):
        """Its result tells whose it is."""
        return "SELECT $1::int + %d" % (1000 * (self.number + 1) + place)

    def pipeline(self):
        parts = 1 if self.status != "I" else self.draw.choice([1, 1, 2, 3, 6])
        flush = self.draw.choice([b"", b"", b"", wire.flush()])
        return b"".join(b"".join(self.step() + flush for _ in range(self.draw.randrange(1, 8)))
                        + wire.sync() for _ in range(parts)), parts

    def send(self, data):
        """To both; to the pooler sometimes in pieces."""
        self.sent = data
        self.direct.send_raw(data)
        if self.draw.randrange(4) == 0:
            cut = self.draw.randrange(1, len(data))
            self.through.send_raw(data[:cut])
            time.sleep(self.draw.choice([0, 0.001]))
            data = data[cut:]
        self.through.send_raw(data)

    # What comes back

    @staticmethod
    def answers(client, parts):
        seen = []
        while parts > 0:
            got = client.read()
            if got.type == "E":
                seen.append(("E", wire.parse_fields(got.body)["C"]))
            elif got.type not in "NS":
                seen.append((got.type, got.body))
            parts -= got.type == "Z"
        return seen

    def compare(self, parts):
        expected, got = self.answers(self.direct, parts), self.answers(self.through, parts)
        for place, answer in enumerate(got):
            # Of two errors in one Parse, the pooler tells first that the name is in use.
            if answer == ("E", "42P05") and expected[place:place + 1] and expected[place][0] == "E":
                expected[place] = answer
        assert got == expected, "\n got %r\nnot %r" % (got, expected)
        self.status = got[-1][1].decode()

    # The rounds

    def use_the_unnamed(self):
        """
        What was prepared without a name before. It may be gone, or still be there although a simple
        query has ended it on the server where that ran; but it is this client's own.
        """
        self.send(wire.bind([2]) + wire.execute() + wire.sync())
        expected, got = self.answers(self.direct, 1), self.answers(self.through, 1)
        if got[0][0] != "E":
            value = int(got[1][1][6:])
            assert value // 1000 == self.number + 1, "\n got %r\nnot %r" % (got, expected)
        else:
            assert got[0][1] in ("26000", "25P02"), got
        self.status = got[-1][1].decode()
        if got[-1] != expected[-1]:
            self.command("ROLLBACK")

    def command(self, sql):
        self.send(wire.query(sql))
        self.compare(1)

    def vanish(self):
        data, _ = self.pipeline()
        for client in (self.direct, self.through):
            client.send_raw(data[:self.draw.randrange(len(data))])
            if self.draw.randrange(2) == 0:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()
        self.connect()

    def round(self):
        choice = self.draw.randrange(40)
        if choice == 0:
            self.vanish()
        elif choice < 3:
            self.use_the_unnamed()
        elif choice < 15 or (self.status != "I" and choice < 20):
            command = self.draw.choice(COMMANDS)
            self.command("COMMIT" if choice > 15 else command)
        else:
            data, parts = self.pipeline()
            self.send(data)
            self.compare(parts)

    def run(self):
        try:
            self.connect()
            while time.monotonic() < self.end:
                self.round()
                self.rounds += 1
            self.close()
        except BaseException as failure:
            self.failure = "round %d: %r\nsent: %r" % (self.rounds, failure, self.sent)
            self.end = 0


SETTINGS = {
    "many": {},
    "few": {"max_prepared_statements": "2"},
    "reset": {"max_prepared_statements": "1", "server_reset_query_always": "1"},
    "unnamed": {"prepare_unnamed": "1", "max_prepared_statements": "4"},
}


@pytest.mark.limit(int(30 + SECONDS))
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_clients_at_random(start_pooler, pg, settings):
    pooler = start_pooler(pool_mode="transaction", default_pool_size="2",
                          prepared_statement_errors="1", log_connections="0", log_disconnections="0",
                          server_idle_timeout="60", **settings)
    end = time.monotonic() + SECONDS / len(SETTINGS)
    walks = [Walk(pooler, pg, number, SEED, end) for number in range(CLIENTS)]
    for walk in walks:
        walk.start()
    for walk in walks:
        walk.join()
    failures = ["%s, %s" % (walk.name, walk.failure) for walk in walks if walk.failure]
    assert not failures, "PGWEIR_RANDOM_SEED=%d\n%s" % (SEED, "\n".join(failures))
    assert all(walk.rounds > 5 for walk in walks)
    pooler.wait_pool(cl_active=0, cl_waiting=0, sv_active=0, sv_tested=0)
    assert pooler.servers() <= 2
