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

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

from transformers_sat.metrics import ten_crop_probabilities
from transformers_sat.metrics.classification import ranks_of_labels


class TestTenCropProbabilities:
    def test_is_the_mean_of_the_softmax_of_each_crop(self):
        logits = torch.tensor([[[0.0, 0.0], [0.0, np.log(3.0)]]])
        torch.testing.assert_close(ten_crop_probabilities(logits), torch.tensor([[0.375, 0.625]]))

    def test_differs_from_the_softmax_of_the_mean(self):
        # Nine crops lean to class 0, one is sure of class 1.
        logits = torch.tensor([[[0.1, 0.0]] * 9 + [[0.0, 30.0]]])
        assert ten_crop_probabilities(logits).argmax() == 1
        assert ten_crop_probabilities(torch.tensor([[[0.2, 0.0]] * 9 + [[0.0, 1.0]]])).argmax() == 0

    def test_low_precision_logits_give_float32(self):
        assert ten_crop_probabilities(torch.zeros(2, 10, 3, dtype=torch.bfloat16)).dtype == torch.float32

    @pytest.mark.parametrize("shape", [(4, 7), (4, 0, 7)])
    def test_errors(self, shape):
        with pytest.raises(ValueError, match=r"\(batch_size, num_crops, num_labels\)"):
            ten_crop_probabilities(torch.zeros(shape))


class TestRanksOfLabels:
    @pytest.mark.parametrize("k", [1, 2, 5])
    def test_agree_with_scikit_learn(self, golden, k):
        ranks = ranks_of_labels(golden.logits, golden.labels)
        expected = top_k_accuracy_score(golden.labels, golden.logits.softmax(-1), k=k, labels=np.arange(7))
        assert (ranks < k).mean() == expected

    def test_of_equal_classes_the_lower_index_comes_first(self):
        logits = torch.tensor([[1.0, 2.0, 2.0, 2.0]])
        assert [ranks_of_labels(logits, torch.tensor([label]))[0] for label in range(4)] == [3, 0, 1, 2]

    def test_a_row_with_a_nan_is_never_right(self):
        logits = torch.tensor([[float("nan"), 5.0], [0.0, float("nan")], [0.0, 1.0]])
        assert ranks_of_labels(logits, torch.tensor([1, 1, 1])).tolist() == [2, 2, 0]

    def test_errors(self):
        logits = torch.zeros(2, 7)
        with pytest.raises(ValueError, match=r"from 0 to 6, as `logits` has 7 classes; got \[7\]"):
            ranks_of_labels(logits, torch.tensor([3, 7]))
        with pytest.raises(ValueError, match=r"got \[-100\]"):
            ranks_of_labels(logits, torch.tensor([3, -100]))
        with pytest.raises(ValueError, match="one integer for each of the 2 rows"):
            ranks_of_labels(logits, torch.tensor([3]))
        with pytest.raises(ValueError, match="one integer for each of the 2 rows"):
            ranks_of_labels(logits, torch.tensor([3.0, 1.0]))
        with pytest.raises(ValueError, match="ten_crop_probabilities"):
            ranks_of_labels(torch.zeros(2, 10, 7), torch.tensor([3, 3]))
