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
"""The Space's page: the card, and figures for predictions and references that are pasted as JSON."""

import json
from pathlib import Path

import evaluate
import gradio as gr

from tests import EXAMPLE
from transformers_sat.metrics import PROTOCOLS


FOLDER = Path(__file__).parent


def compute(pasted: str, protocol: str, threshold: float | None) -> dict:
    """The figures; what is wrong with the input is shown on the page."""
    try:
        given = json.loads(pasted)
        # one for each call, as calls may overlap
        metric = evaluate.load(str(FOLDER / "wsol_localization.py"), keep_in_memory=True)
        return metric.compute(
            predictions=given["predictions"],
            references=given["references"],
            protocol=protocol,
            threshold=threshold,
        )
    except KeyError as error:
        raise gr.Error(f"The input must have `predictions` and `references`; there is no {error}.") from error
    except (ValueError, TypeError) as error:
        raise gr.Error(str(error)) from error


def card() -> str:
    """The README without its front matter."""
    return (FOLDER / "README.md").read_text(encoding="utf-8").split("---", 2)[2]


def make_demo() -> gr.Interface:
    return gr.Interface(
        fn=compute,
        inputs=[
            gr.Code(value=json.dumps(EXAMPLE, indent=1), language="json", label="predictions and references"),
            gr.Radio(list(PROTOCOLS), value="sat", label="protocol"),
            gr.Number(value=None, label="threshold (empty: the best for these images)"),
        ],
        outputs=gr.JSON(label="figures, in percent"),
        title="Weakly supervised object localization",
        article=card(),
        flagging_mode="never",
    )


if __name__ == "__main__":
    make_demo().launch()
