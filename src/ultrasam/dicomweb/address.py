"""Addresses of a DICOMweb server and of the studies, series and instances on it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from ultrasam.errors import ConfigError

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LEVELS = ("studies", "series", "instances")


def is_uid(text: object) -> bool:
    """Whether a text is a UID of DICOM (PS3.5, 9.1), and so safe as part of an address or a file's name.

    Example:
        >>> is_uid("1.2.840.10008"), is_uid("../../etc"), is_uid("1." * 40 + "1")
        (True, False, False)
    """
    return isinstance(text, str) and len(text) <= 64 and UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Address:
    """What is meant on which server.

    Attributes:
        base: the root of the server's DICOMweb, such as ``https://host/dicom-web``.
        study, series, instance: UIDs; None where all are meant.
    """

    base: str
    study: str | None = None
    series: str | None = None
    instance: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse ``https://host/dicom-web[/studies/UID[/series/UID[/instances/UID]]]``.

        Raises:
            ConfigError: It is no such address, or holds a password.

        Example:
            >>> Address.parse("https://pacs/dicom-web/studies/1.2/series/3.4").series
            '3.4'
        """
        try:
            parts = urlsplit(text)
            host, _ = parts.hostname, parts.port
        except ValueError:
            parts, host = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not host:
            raise ConfigError(
                f"'{text.rpartition('@')[2]}' is not the address of a DICOMweb server; write it as "
                "https://host/dicom-web."
            )
        if "@" in parts.netloc:
            raise ConfigError(
                "Leave user and password out of the address, where others see them; set "
                "ULTRASAM_DICOMWEB_USER and ULTRASAM_DICOMWEB_PASSWORD."
            )
        if parts.query or parts.fragment:
            raise ConfigError(
                f"Leave out what follows '{'?' if parts.query else '#'}' in the address of {host}."
            )
        steps = [step for step in parts.path.split("/") if step]
        start = steps.index("studies") if "studies" in steps else len(steps)
        names, uids = steps[start::2], steps[start + 1 :: 2]
        if len(names) != len(uids) or tuple(names) != _LEVELS[: len(names)] or len(names) > 3:
            raise ConfigError(
                f"{text} names no study, series or instance; write them as "
                "…/studies/UID/series/UID/instances/UID."
            )
        wrong = [uid for uid in uids if not is_uid(uid)]
        if wrong:
            raise ConfigError(f"'{wrong[0]}' is not a UID of DICOM: digits and dots, 64 at most.")
        base = f"{parts.scheme}://{parts.netloc}" + "".join(f"/{step}" for step in steps[:start])
        return cls(base, *uids)

    def __str__(self) -> str:
        return self.base + self.path

    @property
    def path(self) -> str:
        """What follows the root."""
        pairs = zip(_LEVELS, (self.study, self.series, self.instance), strict=True)
        return "".join(f"/{level}/{uid}" for level, uid in pairs if uid is not None)

    def narrowed(self, study: str, series: str, instance: str) -> Address:
        """An instance on the same server."""
        return replace(self, study=study, series=series, instance=instance)
