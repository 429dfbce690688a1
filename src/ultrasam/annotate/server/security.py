"""Who labels: on another machine, the token is exchanged for a signed cookie, which says who works.

Changes carry a header that other sites cannot send; `ultrasam.serve.http.access` has the other rules.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass

from ultrasam.annotate.project.readers import reader_name
from ultrasam.errors import DataError
from ultrasam.serve.http.access import HostAccess
from ultrasam.serve.http.problems import RefusedError

MUTATION_HEADER = "x-ultrasam"
_LONGEST_COOKIE = 1000


@dataclass(slots=True)
class Access(HostAccess):
    """The rules of an annotator's server.

    Attributes:
        secret: signs cookies; the project's.
        default_reader: who works if nobody has said so.
        one_time: whether the token logs in once only.
        origins: of other sites whose pages may use the protocols of other tools, such as a DICOM viewer's.
    """

    secret: str
    default_reader: str
    one_time: bool = False
    _used: bool = False

    @property
    def cookie(self) -> str:
        """The cookie's name; browsers share cookies between the ports of a host."""
        return f"ultrasam-{self.port}"

    def log_in(self, token: str | None, reader: str, address: str) -> str:
        """The cookie of a session.

        Args:
            token: as it was sent.
            reader: who works.
            address: of the client, whose attempts are counted.

        Raises:
            RefusedError: The token is missing, wrong or used up, or there were too many attempts.
        """
        if self.token is None:
            return self.signed(reader)
        with self._lock:
            wrong = (
                "The token is missing or wrong; open the address that 'ultrasam annotate' printed."
            )
            self.check_token(token, address, wrong=wrong)
            if self.one_time and self._used:
                raise RefusedError(
                    "The token was used already, and is good for one login only; start the server anew.",
                    401,
                )
            self._used = True
        return self.signed(reader)

    def reader_of(self, cookie: str | None) -> str:
        """Who works, by their cookie.

        Raises:
            RefusedError: There is no valid cookie, and a token is needed.
        """
        found = None if cookie is None else self._verified(cookie)
        if found is not None:
            return found
        if self.token is None:
            return self.default_reader
        raise RefusedError(
            "There is no session; open the address that 'ultrasam annotate' printed, with its token.",
            401,
        )

    def reader_of_tool(self, authorization: str | None, address: str) -> str:
        """Who works with another tool, by its Authorization header.

        Basic: the user is the reader, and the password is the token. Bearer: what `log_in` returned.

        Args:
            authorization: the header.
            address: of the client, whose attempts are counted.

        Raises:
            RefusedError: A token is needed, and is missing or wrong; or the header cannot be read.
        """
        kind, _, value = (authorization or "")[:_LONGEST_COOKIE].partition(" ")
        if kind.lower() == "bearer":
            return self.reader_of(value.strip())
        if kind.lower() != "basic":
            return self.reader_of(None)
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            name = reader_name(user) if user else self.default_reader
        except (ValueError, DataError) as error:
            raise RefusedError(
                "The Authorization header is not a reader's name and the token; check both.", 401
            ) from error
        self.log_in(password, name, address)
        return name

    def signed(self, reader: str) -> str:
        """A cookie that says who works."""
        payload = base64.urlsafe_b64encode(
            json.dumps([reader, secrets.token_hex(4)]).encode()
        ).decode()
        return f"{payload}.{self._signature(payload)}"

    def _verified(self, cookie: str) -> str | None:
        payload, dot, signature = cookie[:_LONGEST_COOKIE].rpartition(".")
        if not dot or not hmac.compare_digest(
            signature.encode("utf-8", "replace"), self._signature(payload).encode()
        ):
            return None
        try:
            reader = json.loads(base64.urlsafe_b64decode(payload))[0]
        except (ValueError, LookupError):
            return None
        return reader if isinstance(reader, str) else None

    def _signature(self, payload: str) -> str:
        key = f"{self.secret} {self.token or ''}".encode()
        return hmac.new(key, payload.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
