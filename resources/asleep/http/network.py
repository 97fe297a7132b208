"""What a company's network demands: certificate authorities and a proxy, checked before the first request."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url


def trusted_authorities(ca_bundle: Path | None) -> ssl.SSLContext:
    """A TLS context that verifies host names and trusts these certificate authorities only.

    Args:
        ca_bundle: a PEM file, or a directory as `openssl rehash` prepares it; None for those that come with `requests`.

    Raises:
        ValueError: there is no certificate in it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    path = ca_bundle or Path(DEFAULT_CA_BUNDLE_PATH)
    try:
        if path.is_dir():
            context.load_verify_locations(capath=path)
            has_authority = any(path.glob("????????.[0-9]*"))
        else:
            context.load_verify_locations(cafile=path)
            has_authority = bool(context.get_ca_certs())
    except ssl.SSLError:
        raise ValueError("is not a file of certificates in PEM form") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if not has_authority:
        raise ValueError("holds no certificate of an authority (a directory must be prepared with `openssl rehash`)")
    return context


def check_proxy(proxy: str) -> str:
    """The address of a proxy, if it can be one.

    Raises:
        ValueError: it cannot. The text does not quote it, for it may hold a password.
    """
    try:
        parts = urlsplit(proxy)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        parse_url(proxy)
    except (ValueError, LocationParseError):
        is_address = False
    if not is_address or parts.path not in {"", "/"} or parts.query or parts.fragment or any(map(str.isspace, proxy)):
        raise ValueError("must look like http://[user:password@]host:port, with special characters percent-encoded")
    return proxy
