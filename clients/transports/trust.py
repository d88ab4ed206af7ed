"""What goes wrong between client and server over TLS, by the words of OpenSSL and gRPC's BoringSSL; and what to do."""

import re
import ssl
from dataclasses import replace

from clients.calls import Outcome, Sending
from clients.certificates import Certificates
from clients.errors import DeadlineExceeded, Unreachable, WrongCertificate
from clients.transports.connecting import connected
from clients.transports.transport import broken, with_tls

_SERVERS = {
    r"hostname|ip address mismatch": "is of another name; call the server by a name that stands in it",
    r"has expired": "has expired, or this machine's clock is wrong: let the server have a new one",
    r"not yet valid": "is not valid yet, or this machine's clock is wrong",
    r"self.signed|issuer|unable to verify|unknown ca": (
        "is of an authority that is not trusted here: name the authority's certificate with ca (--ca, CONCH_CA)"
    ),
}
"""What is said of a server's certificate: that there is none here who vouches for it, say."""

_CLIENTS = re.compile(r"alert.*(certificate|unknown ca|handshake failure|access denied)", re.IGNORECASE)
"""What a server says of the client's certificate: RFC 8446, 6.2. TLS 1.2 knows only "handshake failure" for none."""

LOOK_S = 1.0
"""So long a look at the server may take."""

WANTS_ONE = "give one that it trusts with certificate and key (--certificate, --key, CONCH_CERTIFICATE, CONCH_KEY)"


def distrust(sending: Sending, said: str) -> WrongCertificate:
    """There is no connection, because of what one side `said` of the other's certificate."""
    said = re.sub(r" *\(_ssl.c:\d+\)|\[(SSL: \w+|Errno \d+)\] ", "", said).replace("_", " ").strip(". ")
    if _CLIENTS.search(said):
        return WrongCertificate(
            f"{sending.address} refuses this client's certificate, or wants one ({said}): {WANTS_ONE}"
        )
    if re.search("wrong version number|record layer failure|packet length|http request", said, re.IGNORECASE):
        plain = replace(sending.address, tls=False)
        return WrongCertificate(f"what answers at {sending.address} speaks no TLS ({said}): is it {plain}?")
    for words, meaning in _SERVERS.items():
        if re.search(words, said, re.IGNORECASE):
            return WrongCertificate(f"the certificate of {sending.address} {meaning} ({said})")
    return WrongCertificate(f"no TLS with {sending.address}: {said}")


def mute(sending: Sending, reason: object, not_run: bool = False) -> Unreachable:
    """A connection broke, over which the server has never answered yet."""
    if not sending.address.tls:
        return broken(sending, f"{reason}; if it speaks TLS, call {with_tls(sending)}", not_run)
    return broken(sending, f"{reason}; if the server wants a client's certificate, {WANTS_ONE}", not_run)


def explained(sending: Sending, outcome: Outcome, certificates: Certificates) -> Outcome:
    """`outcome` of a call over gRPC, with the reason where it found no TLS that it trusts.

    Of several addresses of a name gRPC tells what one of them did, and that is often that IPv6 leads nowhere.
    """
    if not sending.address.tls or not isinstance(outcome, Unreachable) or not outcome.not_run:
        return outcome
    if isinstance(outcome, DeadlineExceeded | WrongCertificate):
        return outcome
    deadline, context = sending.deadline.within(LOOK_S), certificates.context()
    context.set_alpn_protocols(["h2"])
    try:
        with connected(*sending.address.host_port, deadline, context) as connection:
            connection.settimeout(deadline.timeout())
            # The server speaks first; one that wants another certificate says so, or hangs up.
            return outcome if connection.recv(1) else mute(sending, "closed without an answer", not_run=True)
    except (ssl.SSLEOFError, ConnectionResetError):
        return mute(sending, "closed without an answer", not_run=True)
    except ssl.SSLError as error:
        return distrust(sending, str(error))
    except OSError:
        return outcome


def wants_certificate(sending: Sending) -> WrongCertificate:
    """A proxy says so, over a connection that it let be made."""
    return WrongCertificate(f"{sending.address} wants a client's certificate: {WANTS_ONE}")


def wants_tls(sending: Sending) -> WrongCertificate:
    """The server says so."""
    return WrongCertificate(f"what answers at {sending.address} speaks TLS, call {with_tls(sending)}")
