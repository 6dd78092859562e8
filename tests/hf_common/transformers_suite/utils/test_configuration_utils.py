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
"""Stand-in for a module that is not distributed."""

# A value other than the default for each field that every configuration shares; `ConfigTester` checks that they arrive.
config_common_kwargs = {
    "architectures": ["ModelOfAnotherName"],
    "chunk_size_feed_forward": 7,
    "dtype": "float16",
    "id2label": {0: "something"},
    "is_encoder_decoder": True,
    "label2id": {"something": 0},
    "output_attentions": True,
    "output_hidden_states": True,
    "problem_type": "regression",
    "return_dict": False,
}


__all__ = ["config_common_kwargs"]
