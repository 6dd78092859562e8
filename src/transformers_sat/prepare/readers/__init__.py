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
"""One module for each form of data set that can be prepared."""

from ..records import Reader
from .coco import CocoReader
from .cub import CubReader
from .fgvc_aircraft import AircraftReader
from .ilsvrc import ImageNetReader
from .imagefolder import ImageFolderReader
from .label_studio import LabelStudioReader
from .stamps import StampsReader
from .stanford_cars import StanfordCarsReader
from .stanford_dogs import StanfordDogsReader
from .voc import VocReader
from .wsoleval import OpenImagesReader, WsolevalReader
from .yolo import YoloReader


# By the name that `transformers-sat prepare` knows them by.
READERS: dict[str, type[Reader]] = {
    reader.name: reader
    for reader in (
        CubReader,
        ImageNetReader,
        OpenImagesReader,
        StanfordDogsReader,
        StanfordCarsReader,
        AircraftReader,
        WsolevalReader,
        CocoReader,
        VocReader,
        YoloReader,
        LabelStudioReader,
        ImageFolderReader,
        StampsReader,
    )
}


__all__ = ["READERS"]
