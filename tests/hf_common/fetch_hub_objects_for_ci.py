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
"""Stand-in for a module that is not distributed: it finds local files for the images that the common tests name by URL."""

from pathlib import Path

import skimage


PHOTOGRAPHS = Path(skimage.__file__).parent / "data"

LOCAL_IMAGES = {
    "https://huggingface.co/datasets/hf-internal-testing/fixtures-coco/resolve/main/val2017/000000039769.jpg": (
        PHOTOGRAPHS / "chelsea.png"  # cats, there and here
    ),
}


def url_to_local_path(url: str) -> str:
    if url not in LOCAL_IMAGES:
        raise KeyError(f"No local image for {url}: add one to {__file__}, as the tests run without network.")
    return str(LOCAL_IMAGES[url])
