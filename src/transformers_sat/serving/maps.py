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
"""The localization map of an image as an answer: a grey image, or the model's own numbers."""

import io

import numpy as np
import PIL.Image
from starlette.responses import JSONResponse, Response

from ..model.handler import EndpointHandler, RequestError


FORMATS = ("png", "npy", "json")


def read_map_request(data: dict, handler: EndpointHandler) -> tuple[object, str]:
    """
    The image of a request for a map, not decoded yet, and the format of the answer.

    Raises:
        `RequestError`: if there is not one image, or another parameter than `format`.
    """
    parameters = data.get("parameters") if isinstance(data, dict) else None
    wanted = "png"
    if isinstance(parameters, dict):
        parameters = dict(parameters)
        wanted = parameters.pop("format", None) or wanted
        if parameters:
            raise RequestError(
                f"A map has no other parameter than `format`, got {str(next(iter(parameters)))[:50]!r}."
            )
        data = {**data, "parameters": None}
    if not isinstance(wanted, str) or wanted not in FORMATS:
        raise RequestError(f"`format` must be one of {', '.join(FORMATS)}, got {str(wanted)[:50]!r}.")
    images, _ = handler.read(data)
    if isinstance(data["inputs"], list):
        raise RequestError("A map is of one image, and `inputs` is a list; send one request for each image.")
    return images[0], wanted


def map_response(handler: EndpointHandler, output: dict, wanted: str) -> Response:
    """
    The map of one image.

    Args:
        handler ([`EndpointHandler`]): the model.
        output (`dict`): what it gave for the image.
        wanted (`str`): `png` for the normalized map in the image's pixels, 0 where it is smallest and 255 where it is
            largest; `npy` or `json` for the values of the model's grid, in (0, 1), not normalized.

    Raises:
        `RuntimeError`: if the map is not finite.
    """
    grid = output["localization_map"][0].float()
    handler.check_finite(output)
    if wanted == "json":
        return JSONResponse({"localization_map": grid.tolist()})
    file = io.BytesIO()
    if wanted == "npy":
        np.save(file, grid.numpy())
        return Response(file.getvalue(), media_type="application/octet-stream")
    (result,) = handler.localizer.image_processor.post_process_localization(
        output, target_sizes=[output["target_size"]], top_k=1, threshold=0.0
    )
    grey = (result["localization_map"] * 255).round().clamp(0, 255).byte().numpy()
    PIL.Image.fromarray(grey).save(file, format="PNG")
    return Response(file.getvalue(), media_type="image/png")


__all__ = ["FORMATS", "map_response", "read_map_request"]
