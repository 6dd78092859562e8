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

"""
Prints the lowest release of each package that setup.cfg asks for, as constraints for pip: `make test-lowest` installs
them. Every bound there names a release to the last digit that matters, so that `==` finds it. What the packages
themselves ask for stays free, and pip refuses bounds that contradict one another.
"""

import configparser
import re
from pathlib import Path


setup = configparser.ConfigParser()
setup.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
requirements = "\n".join([setup["options"]["install_requires"], *setup["options.extras_require"].values()])
for name, version in sorted(set(re.findall(r"^([\w-]+)>=([\d.]+)", requirements, flags=re.MULTILINE))):
    print(f"{name}=={version}")
