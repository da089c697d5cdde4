"""TLS on the raw clients and servers of support/wire.py."""

import ssl
import warnings

from support import wire

REQUEST = wire.special_packet(wire.SSL_REQUEST)


def client_context(certificates=None, certificate=None, version=None, alpn=("postgresql",),
                   check=False):
    """`check`: the server's certificate must be by `ca` and made out to the name we give."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check
    context.verify_mode = ssl.CERT_REQUIRED if check else ssl.CERT_NONE
    if check:
        context.load_verify_locations(certificates.file("ca.crt"))
    if certificate:
        context.load_cert_chain(certificates.file(certificate + ".crt"),
                                certificates.file(certificate + ".key"))
    if version:
        with warnings.catch_warnings():  # of versions that nobody should use
            warnings.simplefilter("ignore")
            context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def server_context(certificates, certificate="server", alpn=("postgresql",), ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.file(certificate + ".crt"),
                            certificates.file(certificate + ".key"))
    if ca:
        context.load_verify_locations(certificates.file(ca + ".crt"))
        context.verify_mode = ssl.CERT_OPTIONAL
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def begin(client, context=None, server_hostname="localhost", **wrap):
    """TLS at once on a raw connection. Returns the connection."""
    assert not client.buffer
    client.sock = (context or client_context()).wrap_socket(
        client.sock, server_hostname=server_hostname, **wrap)
    return client


def ask(client, context=None, **wrap):
    """TLS after an SSLRequest."""
    client.send_raw(REQUEST)
    answer = client.read_bytes(1)
    assert answer == b"S", answer
    return begin(client, context, **wrap)


def refused(client, context=None, direct=False):
    """
    The handshake fails, for the client or just behind it (in TLS 1.3 a client is done before the
    server has seen its certificate). Returns the error, None for an end without one.
    """
    try:
        (begin if direct else ask)(client, context)
        rest = client.sock.recv(1)
    except (ssl.SSLError, ConnectionError, EOFError) as error:
        return error
    assert rest == b"", rest
    return None


def serve(side, context):
    """The server's side of an SSLRequest and of the handshake behind it."""
    assert side.read_bytes(8) == REQUEST
    side.send_raw(b"S")
    return begin_serving(side, context)


def begin_serving(side, context):
    assert not side.buffer
    side.sock = context.wrap_socket(side.sock, server_side=True)
    return side
