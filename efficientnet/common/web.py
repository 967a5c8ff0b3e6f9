"""Requests to servers of others, which may send anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests


def open_session() -> requests.Session:
    """Return a session of requests that does not read the bodies of redirects, which may never end."""
    import requests

    session = requests.Session()
    session.hooks["response"].append(_drop_redirect)
    return session


def get(session: requests.Session, url: str, **options: Any) -> requests.Response:
    """Send a request, as ``session.get`` does, for a response whose body is not read yet.

    Raises:
        requests.RequestException: The request failed, also because an address, perhaps of a redirect, cannot be parsed,
            or a file of certificates cannot be read, for which requests raises errors of other kinds.
    """
    import requests

    try:
        return session.get(url, stream=True, **options)
    except requests.RequestException:
        raise
    except (ValueError, OSError) as error:
        raise requests.RequestException(str(error)) from None


def total_bytes(response: requests.Response) -> int | None:
    """Return the size of the file that a response holds or holds a range of; None if the server does not say it."""
    name, pattern = ("Content-Length", r"(\d{1,18})")
    if response.status_code == 206:
        name, pattern = ("Content-Range", r"bytes \d+-\d+/(\d{1,18})")
    found = re.fullmatch(pattern, response.headers.get(name, ""), re.ASCII)
    return int(found[1]) if found else None


def retry_after(response: requests.Response) -> float:
    """Return the seconds in the header Retry-After (RFC 9110, section 10.2.3); 0 if it is missing or makes no sense."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except (InvalidHeader, ValueError, OverflowError):  # the last two of numbers and years that are too large
        return 0.0


def _drop_redirect(response: requests.Response, **options: Any) -> None:
    if response.is_redirect:
        response.close()
