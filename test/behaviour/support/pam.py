"""
A real PAM stack without a file in /etc: libpam-wrapper leads libpam to a folder of services, and
its module pam_matrix has users and passwords in a file. The wrapper reads the folder once, when the
pooler asks for the first time.
"""

import glob
import os
import shutil
import tempfile

from support.pooler import environment
from support.process import give_away


def find(pattern):
    found = sorted(glob.glob("/usr/lib/*/" + pattern) + glob.glob("/usr/lib/" + pattern))
    return found[0] if found else None


WRAPPER = find("libpam_wrapper.so")
MATRIX = find("pam_wrapper/pam_matrix.so")

# Waits at the gate: until the file is there, a minute at most.
GATE = """#!/bin/sh
n=0
while [ ! -e %(folder)s/open ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done
exit 1
"""

WAITING = "waiting"

NOTE = """#!/bin/sh
echo "$PAM_SERVICE $PAM_TYPE $PAM_USER $PAM_RHOST" >>%(folder)s/notes
"""


class Pam:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="pgweir-pam-")
        self.services = os.path.join(self.folder, "services")
        os.mkdir(self.services)
        for folder in (self.folder, self.services):
            os.chmod(folder, 0o755)
            give_away(folder)

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text % dict(folder=self.folder, matrix=MATRIX))
        os.chmod(path, mode)
        give_away(path)
        return path

    def service(self, *lines, name="pgbouncer"):
        self.write("services/" + name, "\n".join(lines) + "\n")

    def matrix(self, users):
        """Users and passwords, for both the login and the account. WAITING hangs at the gate."""
        self.write("passwords", "".join("%s:%s:pgbouncer\n" % item for item in users.items()))
        self.write("gate", GATE, 0o755)
        self.service("auth [success=1 default=ignore] pam_succeed_if.so quiet user != " + WAITING,
                     "auth required pam_exec.so quiet %(folder)s/gate",
                     "auth required %(matrix)s passdb=%(folder)s/passwords",
                     "account required %(matrix)s passdb=%(folder)s/passwords")

    def open_gate(self):
        self.write("open", "")

    def notes(self):
        with open(os.path.join(self.folder, "notes")) as file:
            return file.read().splitlines()

    def environment(self):
        env = environment()
        env.update(LD_PRELOAD=WRAPPER, PAM_WRAPPER="1", PAM_WRAPPER_SERVICE_DIR=self.services,
                   UID_WRAPPER_DISABLE_DEEPBIND="1")
        # The wrapper stands before the sanitizer's library, which does no harm here.
        env["ASAN_OPTIONS"] += ":verify_asan_link_order=0"
        return env

    def remove(self):
        self.open_gate()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.remove_copies()

    def remove_copies(self):
        """The wrapper's own, of a pooler that ended while a module hung."""
        for service in glob.glob("/tmp/pam.?/pgbouncer"):
            try:
                with open(service) as file:
                    text = file.read()
            except FileNotFoundError:
                continue
            if self.folder in text:
                shutil.rmtree(os.path.dirname(service), ignore_errors=True)
