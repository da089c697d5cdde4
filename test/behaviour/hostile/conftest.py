"""
The fixture of all hostile tests: a pooler that is watched, see support/invariants.py.

Each test names the row of the catalogue that it carries.
"""

import pytest

from support.invariants import Watch


@pytest.fixture
def field(start_pooler, pg):
    """
    field(setting=value, ...) starts a pooler; `field.watch` is its watch. At the end of the test
    the clients are closed and every invariant is checked. `canaries` and `probed` as in Watch.
    """
    watches = []

    def start(canaries=(("p0", "bob"), ("p1", "alice")), probed=None, **settings):
        settings.setdefault("pool_mode", "transaction")
        settings.setdefault("listen_backlog", "4096")
        pooler = start_pooler(**settings)
        start.watch = Watch(pooler, pg, canaries, probed).begin()
        watches.append(start.watch)
        return pooler
    yield start
    for watch in watches:
        try:
            watch.end()
        finally:
            if watch.canary:
                watch.canary.stop()
