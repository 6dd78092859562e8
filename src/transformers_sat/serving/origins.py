# Copyright 2026 The transformers-sat authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Pages of other origins that may read the answers (CORS), which is nobody unless it is said."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp


class OpenToOrigins(Starlette):
    """
    An application whose answers pages of some origins may read, errors of the server itself among them.

    Args:
        origins (`Sequence[str]`): see [`check_origins`].
        settings: Starlette's.
    """

    def __init__(self, origins: Sequence[str] = (), **settings):
        self.origins = check_origins(origins)
        super().__init__(**settings)

    def build_middleware_stack(self) -> ASGIApp:
        # around all of it: what is given to Starlette as middleware does not see the answer to an unexpected error
        application = super().build_middleware_stack()
        if not self.origins:
            return application
        return CORSMiddleware(
            application,
            allow_origins=self.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )


def check_origins(origins: Sequence[str]) -> list[str]:
    """
    The origins as browsers write them.

    Raises:
        `ValueError`: if one is neither `*` nor scheme and host, such as `https://example.org` or `http://localhost:3000`.
    """
    for origin in origins:
        if origin != "*" and not is_origin(origin):
            raise ValueError(
                "`cors_origin` must be an origin as browsers write it, such as https://example.org or "
                f"http://localhost:3000 (in lower case, nothing behind the host and its port), or *, got {origin!r}."
            )
    return list(origins)


def is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    # a browser leaves the scheme's own port out
    has_other_port = port is not None and port != {"http": 80, "https": 443}.get(parts.scheme)
    return (
        parts.scheme in ("http", "https")
        and bool(host)
        and "*" not in host
        and text.isascii()
        and text.isprintable()
        and " " not in text
        and text == f"{parts.scheme}://{host}" + (f":{port}" if has_other_port else "")
    )


__all__ = ["OpenToOrigins", "check_origins"]
