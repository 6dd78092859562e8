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
The demo as a Space: `transformers-sat demo` for the model in the environment variable `SAT_MODEL`, with the images in a
folder `images` beside this file as examples.
"""

import os
from pathlib import Path

from transformers_sat.demo import launch_demo


def main():
    model = os.environ.get("SAT_MODEL")
    if not model:
        raise SystemExit(
            "Set the variable SAT_MODEL to the repository of a SAT model, such as org/sat-deit-s-cub (in a Space: Settings, "
            "Variables)."
        )
    images = Path(__file__).parent / "images"
    launch_demo(
        model,
        # a Space reaches its app from outside of the container
        host=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1"),
        images=images if images.is_dir() else None,
    )


if __name__ == "__main__":
    main()
