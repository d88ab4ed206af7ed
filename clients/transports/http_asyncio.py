"""HTTP on aiohttp, whose total timeout is a deadline for the whole call."""

import asyncio
import io
import os
import ssl

import aiohttp
from yarl import URL

from clients.address import Address
from clients.calls import Outcome, Sending
from clients.transports import http_message, trust
from clients.transports.asyncio_home import Home, all_of
from clients.transports.transport import AsyncTransport, broken, foreign, late, nobody

LARGE = 1 << 20
"""Bytes; aiohttp sends what is larger in pieces, so that other tasks go on meanwhile."""


class AsyncHttpTransport(AsyncTransport):
    """A session of aiohttp: its connections are kept, and one whose answer was not read to its end is closed."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._heard: set[Address] = set()
        self._home = Home()
        self._session: aiohttp.ClientSession | None = None

    async def send(self, sendings: list[Sending]) -> list[Outcome]:
        self._home.check()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._context or True), cookie_jar=aiohttp.DummyCookieJar()
            )
        return await all_of([self._one(self._session, sending) for sending in sendings])

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _one(self, session: aiohttp.ClientSession, sending: Sending) -> Outcome:
        try:
            request = http_message.written(sending)
            body = io.BytesIO(request.body) if request.body and len(request.body) > LARGE else request.body
            async with session.request(
                request.method,
                URL(
                    f"{'https' if sending.address.tls else 'http'}://{sending.address.target.partition('/')[0]}{request.path}",
                    encoded=True,
                ),
                data=body,
                headers=request.headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=sending.deadline.timeout()),
            ) as response:
                json_length = http_message.json_length(response.headers.get(http_message.JSON_LENGTH))
                if json_length is None:
                    body, tensors = await response.read(), b""
                else:
                    body, tensors = await response.content.readexactly(json_length), await response.content.read()
                self._heard.add(sending.address)
                return http_message.read(sending, response.status, body, tensors)
        except (aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorCertificateError) as error:
            return trust.distrust(sending, str(error.os_error))
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno
            return nobody(sending, os.strerror(number) if number and number > 0 else error.os_error)
        except TimeoutError:
            return late(sending)
        except asyncio.IncompleteReadError:
            return self._broken(sending, "closed in the middle of an answer")
        except aiohttp.ServerDisconnectedError:
            return self._broken(sending, "closed without an answer")
        except (aiohttp.ClientOSError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as error:
            if "ALERT" in str(error):  # an answer to the handshake that aiohttp reads after it
                return trust.distrust(sending, str(error))
            return self._broken(sending, getattr(error, "strerror", None) or "closed in the middle of an answer")
        except (aiohttp.ClientError, ValueError):
            return foreign(sending)

    def _broken(self, sending: Sending, reason: object) -> Outcome:
        return (broken if sending.address in self._heard else trust.mute)(sending, reason)
