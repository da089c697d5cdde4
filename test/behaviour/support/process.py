"""Ports, users, waiting: what both kinds of processes need."""

import os
import pwd
import random
import socket
import time

SLACK = float(os.environ.get("PGWEIR_SLACK", "1"))


def unprivileged():
    """Popen arguments that leave root behind; none for an ordinary user."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("neither postgres nor nobody exists")


def user_name():
    """The name of the user the processes run as."""
    return pwd.getpwuid(unprivileged().get("user", os.geteuid())).pw_name


def give_away(path):
    """Makes a folder the unprivileged user's."""
    user = unprivileged()
    if user:
        os.chown(path, user["user"], user["group"])


def free_port():
    """
    A port nobody listens on, below the range of outgoing connections, so that none of those takes
    it later. Parallel workers draw at random.
    """
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(12000, 30000)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for(condition, what="", timeout=5.0, pause=0.01):
    """Polls until `condition()` is true, and returns its value. An assertion in it counts as no."""
    deadline = time.monotonic() + timeout * SLACK
    while True:
        failure = None
        try:
            value = condition()
            if value:
                return value
        except AssertionError as caught:
            value, failure = None, caught
        if time.monotonic() > deadline:
            raise AssertionError("not within %g s: %s (last: %r)" % (timeout, what, failure or value))
        time.sleep(pause)


def is_running(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def resident_kib(pid, peak=False):
    """Memory in use, or the most that ever was."""
    name = "VmHWM:" if peak else "VmRSS:"
    with open("/proc/%d/status" % pid) as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1])
    raise AssertionError("no %s" % name)


def open_descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))
