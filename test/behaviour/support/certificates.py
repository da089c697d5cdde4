"""
Keys and certificates for the tests of TLS, made by openssl(1): good ones, and one for each way to
be wrong. `certificates` in conftest.py makes them once for each worker.
"""

import base64
import os
import re
import shutil
import subprocess
import tempfile

from support.process import give_away

SERVER_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"
FOR_SERVERS = "extendedKeyUsage=serverAuth"
FOR_CLIENTS = "extendedKeyUsage=clientAuth"
FOR_AUTHORITIES = "basicConstraints=critical,CA:true"


def openssl(*arguments, stdin=None):
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


# DER, as far as it takes to write names that openssl(1) refuses to write

def der(tag, *parts):
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes((tag, size)) + body
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + body


def der_parts(data):
    """The elements of a constructed value, each whole."""
    parts, place = [], 0
    while place < len(data):
        size, head = data[place + 1], 2
        if size & 0x80:
            head += size & 0x7f
            size = int.from_bytes(data[place + 2:place + head], "big")
        parts.append(data[place:place + head + size])
        place += head + size
    return parts


def der_body(element):
    head = 2 + (element[1] & 0x7f if element[1] & 0x80 else 0)
    return element[head:]


def der_name(common_name):
    return der(0x30, der(0x31, der(0x30, bytes.fromhex("0603550403"), der(0x0c, common_name))))


def from_pem(text):
    return base64.b64decode("".join(re.findall(r"^[A-Za-z0-9+/=]+$", text, re.M)))


def to_pem(data):
    return ("-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(data).decode()
            + "-----END CERTIFICATE-----\n")


class Certificates:
    """
    `file("bob.crt")` and `file("bob.key")` are paths. Made by `ca`: server, nameonly, commonname, wronghost, wildcard,
    expired, clientonly, second (another good one for localhost), bob, other, certuser, serveronly,
    outdated, nul, long; by another authority: foreign; by itself: selfsigned.
    """

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="pgweir-certificates-")
        os.chmod(self.folder, 0o755)
        self.authority("ca")
        self.authority("otherca")
        for name in ("server", "second"):
            self.make(name, "localhost", SERVER_NAMES, FOR_SERVERS)
        self.make("wronghost", "example.org", "subjectAltName=DNS:example.org,IP:127.0.0.9")
        self.make("nameonly", "localhost", "subjectAltName=DNS:localhost")
        self.make("commonname", "localhost")
        self.make("wildcard", "x", "subjectAltName=DNS:*.example.org")
        self.make("expired", "localhost", SERVER_NAMES, days=-1)
        self.make("clientonly", "localhost", SERVER_NAMES, FOR_CLIENTS)
        for name in ("bob", "other", "certuser"):
            self.make(name, name, FOR_CLIENTS)
        self.make("serveronly", "bob", FOR_SERVERS)
        self.make("outdated", "bob", days=-1)
        self.make("foreign", "bob", issuer="otherca")
        self.self_signed("selfsigned", "bob")
        self.renamed("nul", b"bob\0.example.org")
        self.renamed("long", b"bob" + b"x" * 67)
        for name in os.listdir(self.folder):
            give_away(self.file(name))
        give_away(self.folder)

    def file(self, name):
        return os.path.join(self.folder, name)

    def text(self, name):
        with open(self.file(name)) as file:
            return file.read()

    def write(self, name, text):
        """A file of a test; replaced whole, as certificates are renewed."""
        path = self.file(name)
        with open(path + ".new", "w") as file:
            file.write(text)
        os.chmod(path + ".new", 0o600)
        give_away(path + ".new")
        os.replace(path + ".new", path)
        return path

    def copy(self, source, target):
        """Puts the pair `source` under another name."""
        for end in (".crt", ".key"):
            self.write(target + end, self.text(source + end))

    def _key(self, name):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out",
                self.file(name + ".key"))
        os.chmod(self.file(name + ".key"), 0o600)

    def authority(self, name):
        self._key(name)
        openssl("req", "-x509", "-new", "-key", self.file(name + ".key"), "-days", "30",
                "-subj", "/CN=the authority " + name, "-out", self.file(name + ".crt"))

    def self_signed(self, name, common_name):
        self._key(name)
        openssl("req", "-x509", "-new", "-key", self.file(name + ".key"), "-days", "30",
                "-subj", "/CN=" + common_name, "-out", self.file(name + ".crt"))

    def make(self, name, common_name, *extensions, issuer="ca", days=30):
        self._key(name)
        request = openssl("req", "-new", "-key", self.file(name + ".key"),
                          "-subj", "/CN=" + common_name)
        options = []
        if extensions:
            options = ["-extfile", self.file(name + ".ext")]
            with open(self.file(name + ".ext"), "w") as file:
                file.write("\n".join(extensions) + "\n")
        openssl("x509", "-req", "-CA", self.file(issuer + ".crt"), "-CAkey",
                self.file(issuer + ".key"), "-set_serial", str(len(os.listdir(self.folder))),
                "-days", str(days), "-out", self.file(name + ".crt"), *options, stdin=request)

    def renamed(self, name, common_name, source="bob", issuer="ca"):
        """The certificate `source` with another name in it, signed anew."""
        tbs, algorithm, _ = der_parts(der_body(from_pem(self.text(source + ".crt"))))
        fields = der_parts(der_body(tbs))
        fields[5] = der_name(common_name)
        tbs = der(0x30, *fields)
        signature = openssl("dgst", "-sha256", "-sign", self.file(issuer + ".key"), stdin=tbs)
        certificate = der(0x30, tbs, algorithm, der(0x03, b"\0", signature))
        self.write(name + ".crt", to_pem(certificate))
        self.write(name + ".key", self.text(source + ".key"))

    def chain(self, name, depth):
        """A certificate below `depth` intermediate authorities, with all of them in its file."""
        self.make(name + "-1", name + " 1", FOR_AUTHORITIES)
        tbs, algorithm, _ = der_parts(der_body(from_pem(self.text(name + "-1.crt"))))
        fields = der_parts(der_body(tbs))
        certificates = [self.text(name + "-1.crt")]
        for place in range(2, depth + 2):
            fields[3], fields[5] = fields[5], der_name(b"%s %d" % (name.encode(), place))
            tbs = der(0x30, *fields)
            signature = openssl("dgst", "-sha256", "-sign", self.file(name + "-1.key"), stdin=tbs)
            certificates.insert(0, to_pem(
                der(0x30, tbs, algorithm, der(0x03, b"\0", signature))))
        self.write(name + ".crt", "".join(certificates))
        self.write(name + ".key", self.text(name + "-1.key"))

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)
