"""A real slapd in a temporary folder, on loopback, as the unprivileged user."""

import os
import shutil
import socket
import subprocess
import tempfile

from support.pooler import ADMIN, ADMIN_PASSWORD
from support.postgres import PASSWORDS
from support.process import free_port, give_away, unprivileged, wait_for

SLAPD = shutil.which("slapd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
SCHEMA = "/etc/ldap/schema"
BASE = "dc=example,dc=net"
READER, READER_PASSWORD = "cn=reader," + BASE, "reader, pw"

CONFIG = """
include %(schema)s/core.schema
include %(schema)s/cosine.schema
include %(schema)s/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %(folder)s/slapd.pid
TLSCACertificateFile %(folder)s/ca.pem
TLSCertificateFile %(folder)s/server.pem
TLSCertificateKeyFile %(folder)s/server.key
database mdb
suffix "%(base)s"
rootdn "cn=root,%(base)s"
directory %(folder)s/data
# Who may search is up to the test: nobody without a name, unless it says so.
access to attrs=userPassword by anonymous auth
access to dn.subtree="ou=open,%(base)s" by * read
access to * by dn.exact="%(reader)s" read
"""

ENTRIES = """
dn: %(base)s
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: %(reader)s
objectClass: person
cn: reader
sn: reader
userPassword: %(reader_password)s

dn: ou=people,%(base)s
objectClass: organizationalUnit
ou: people

dn: ou=open,%(base)s
objectClass: organizationalUnit
ou: open
"""

PERSON = """
dn: uid=%(uid)s,ou=%(unit)s,%(base)s
objectClass: inetOrgPerson
uid: %(uid)s
cn: %(uid)s
sn: %(uid)s
mail: %(mail)s
userPassword: %(password)s
"""

# uid, ou, mail, password. twin exists twice: a search may not choose. The roles that PostgreSQL
# asks for a password have the same one here.
PEOPLE = [*((name, "people", name + "@example.net", password)
            for name, password in [*PASSWORDS.items(), (ADMIN, ADMIN_PASSWORD)]),
          ("bob", "people", "bob@example.net", "bob in ldap"),
          ("alice", "people", "alice@example.net", "alice in ldap"),
          ("twin", "people", "twin1@example.net", "twin-pw"),
          ("twin", "open", "twin2@example.net", "twin-pw"),
          ("carol", "open", "carol@example.net", "carol in ldap")]


def make_certificates(folder):
    """An authority and a server certificate for 127.0.0.1 and localhost."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "ca.key",
            "-out", "ca.pem", "-subj", "/CN=test authority")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr",
            "-subj", "/CN=localhost")
    with open(os.path.join(folder, "extensions"), "w") as file:
        file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-out", "server.pem", "-extfile", "extensions")
    for name in os.listdir(folder):
        give_away(os.path.join(folder, name))


class Slapd:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="pgweir-ldap-")
        os.chmod(self.folder, 0o755)
        os.mkdir(os.path.join(self.folder, "data"))
        give_away(self.folder)
        make_certificates(self.folder)
        give_away(os.path.join(self.folder, "data"))
        self.ca_file = os.path.join(self.folder, "ca.pem")
        self.port, self.tls_port = free_port(), free_port()
        self.config = os.path.join(self.folder, "slapd.conf")
        self._write("slapd.conf", CONFIG)
        self._write("entries.ldif", ENTRIES + "".join(
            PERSON % dict(uid=uid, unit=unit, mail=mail, password=password, base=BASE)
            for uid, unit, mail, password in PEOPLE))
        self._slapd("-T", "add", "-l", os.path.join(self.folder, "entries.ldif"))
        self.process = None
        self.start()

    def _write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as file:
            file.write(text % dict(folder=self.folder, schema=SCHEMA, base=BASE, reader=READER,
                                   reader_password=READER_PASSWORD))
        give_away(os.path.join(self.folder, name))

    def _slapd(self, *arguments):
        done = subprocess.run([SLAPD, *arguments, "-f", self.config], capture_output=True,
                              text=True, cwd=self.folder, **unprivileged())
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        urls = "ldap://127.0.0.1:%d/ ldaps://127.0.0.1:%d/" % (self.port, self.tls_port)
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(
                [SLAPD, "-f", self.config, "-h", urls, "-d", "256"], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, cwd=self.folder, **unprivileged())
        wait_for(self.is_up, "slapd listens:\n" + self.log(), timeout=20)

    def is_up(self):
        assert self.process.poll() is None, self.log()
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.tls_port)) == 0

    def log(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as file:
            return file.read()

    def set_password(self, uid, password, unit="people"):
        """Changes a password; slapd restarts."""
        dn = "uid=%s,ou=%s,%s" % (uid, unit, BASE)
        entry = "dn: %s\nchangetype: modify\nreplace: userPassword\nuserPassword: %s\n" % (
            dn, password)
        self.stop()
        path = os.path.join(self.folder, "change.ldif")
        with open(path, "w") as file:
            file.write(entry)
        give_away(path)
        self._slapd("-T", "modify", "-l", path)
        self.start()

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
