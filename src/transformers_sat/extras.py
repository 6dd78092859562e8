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
"""The optional packages: which are missing, and how to get them."""

import importlib.util


def require(extra: str, *packages: str):
    """
    Stops at once where a package is missing; loads none of them.

    Args:
        extra (`str`): the extra in setup.cfg that brings them.
        packages (`str`): their names in `import`.

    Raises:
        `ImportError`: if one is missing; the message says how to install them.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ImportError(f"{', '.join(missing)} not installed: {install_hint(extra)}")


def install_hint(extra: str) -> str:
    """
    How to get an extra. The package is on no index, where anybody could claim its name: it comes from a checkout, or from
    a wheel that was built of one.

    Args:
        extra (`str`): the extra in setup.cfg.
    """
    return f"in a checkout of transformers-sat run pip install '.[{extra}]', or with its wheel pip install 'FILE.whl[{extra}]'"


__all__ = ["install_hint", "require"]
