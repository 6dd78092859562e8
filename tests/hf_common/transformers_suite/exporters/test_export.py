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

import torch


class ExportTesterMixin:
    """What `ModelTesterMixin` inherits: the model's graph can be exported, and computes the same."""

    def test_torch_export(self):
        for model_class in self.all_model_classes:
            with self.subTest(model_class.__name__):
                config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
                inputs = self._prepare_for_class(inputs, model_class)
                model = model_class(config).eval()
                with torch.no_grad():
                    expected = model(**inputs)
                    exported = torch.export.export(model, args=(), kwargs=inputs, strict=False).module()(**inputs)

                self.assertEqual(list(exported.keys()), list(expected.keys()))
                for name, tensor in expected.items():
                    torch.testing.assert_close(exported[name], tensor, msg=lambda m, name=name: f"{name}: {m}")


__all__ = ["ExportTesterMixin"]
