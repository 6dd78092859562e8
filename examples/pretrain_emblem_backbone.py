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
Pretrains the small ViT classifier that ships with the package, from scratch, on a CPU.

SAT starts from a ViT that was pretrained to classify other images. This script makes one for the emblems: a plain
`ViTForImageClassification` that learns ten *other* emblems (`load_emblems(variant="pretraining")`).

A ViT without any convolution stays at chance for long when it meets small objects on cluttered images, so the images
grow harder in three stages:

1. crops of pure pattern on a quarter of the position grid,
2. emblems that fill such a crop,
3. the real images, at first with half of their patches dropped at random, then whole.

    python examples/pretrain_emblem_backbone.py --output_dir emblem-backbone
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm
from transformers import HfArgumentParser, ViTConfig, ViTForImageClassification, ViTImageProcessor, set_seed
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from transformers_sat.drawn.emblems import (
    PATTERN_PERIOD_RANGE,
    draw_emblem,
    draw_pattern,
    emblem_class_names,
    load_emblems,
    load_photographs,
    pattern_of_class,
)
from transformers_sat.saving import save_model
from transformers_sat.writing import write_json


IMAGE_SIZE = 64
PATCH_SIZE = 8
GRID_SIZE = IMAGE_SIZE // PATCH_SIZE
CROP_SIZE = IMAGE_SIZE // 2
CROP_GRID_SIZE = CROP_SIZE // PATCH_SIZE
NUM_CLASSES = len(emblem_class_names("pretraining"))


@dataclass
class PretrainingArguments:
    """Arguments of the script."""

    output_dir: str = field(metadata={"help": "Folder for the model, its image processor and results.json."})
    pattern_steps: int = field(default=450, metadata={"help": "Training steps on crops of pure pattern."})
    crop_steps: int = field(default=400, metadata={"help": "Training steps on emblems that fill a crop."})
    dropped_steps: int = field(default=700, metadata={"help": "Training steps on images without half their patches."})
    full_steps: int = field(default=900, metadata={"help": "Training steps on whole images."})
    num_train: int = field(default=8000, metadata={"help": "Number of training images in each stage."})
    batch_size: int = field(default=64, metadata={"help": "Images in a step."})
    learning_rate: float = field(default=2e-3, metadata={"help": "Largest learning rate."})
    weight_decay: float = field(default=0.03, metadata={"help": "Weight decay of matrices."})
    warmup_steps: int = field(default=100, metadata={"help": "Steps until the largest learning rate."})
    label_smoothing: float = field(default=0.05, metadata={"help": "Label smoothing of both losses."})
    patch_loss_weight: float = field(
        default=0.5, metadata={"help": "Weight of the loss that classifies the mean of the patch outputs."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the data, the initial weights and the training."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where `datasets` keeps the drawn images."})


def build_model() -> ViTForImageClassification:
    """A ViT of half a million parameters whose initial weights suit its size and its few training steps."""
    names = emblem_class_names("pretraining")
    config = ViTConfig(
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=6,
        num_attention_heads=3,
        layer_norm_eps=1e-6,
        id2label=dict(enumerate(names)),
        label2id={name: label for label, name in enumerate(names)},
    )
    model = ViTForImageClassification(config)
    initialize_weights(model)
    return model


@torch.no_grad()
def initialize_weights(model: ViTForImageClassification) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.05)
    for layer in model.vit.layers:
        layer.attention.o_proj.weight.mul_(0.5)
        layer.mlp.fc2.weight.mul_(0.5)

    # Most filters ignore the mean colour of a patch, which says nothing about the pattern in it.
    filters = model.vit.embeddings.patch_embeddings.projection.weight
    nn.init.normal_(filters, std=filters[0].numel() ** -0.5)
    contrast_filters = filters[: 3 * len(filters) // 4]
    contrast_filters.sub_(contrast_filters.mean(dim=(1, 2, 3), keepdim=True)).mul_(2)

    model.vit.embeddings.position_embeddings[:, 1:] = 0.3 * sine_cosine_positions(model.config.hidden_size)
    model.vit.embeddings.position_embeddings[:, :1] = 0


def sine_cosine_positions(hidden_size: int) -> torch.Tensor:
    """Position embeddings of shape `(GRID_SIZE**2, hidden_size)`: half of them tell the row, half the column."""
    frequencies = GRID_SIZE ** -torch.linspace(0, 1, hidden_size // 4)
    angles = torch.arange(GRID_SIZE)[:, None] * math.pi * frequencies
    by_index = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = by_index[:, None].expand(-1, GRID_SIZE, -1)
    columns = by_index[None, :].expand(GRID_SIZE, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


def draw_crops(draw, num_images: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images `(num_images, 3, CROP_SIZE, CROP_SIZE)` and labels that `draw(random, label)` made."""
    images = []
    for index in tqdm(range(num_images), desc=f"Drawing {draw.__name__}"):
        label = index % NUM_CLASSES
        images.append(draw(np.random.default_rng([seed, index]), label))
    labels = torch.arange(num_images) % NUM_CLASSES
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), labels


# A crop is half as wide as an image, so that the same pattern has twice the period relative to it.
CROP_PERIOD_RANGE = tuple(period * IMAGE_SIZE / CROP_SIZE for period in PATTERN_PERIOD_RANGE)


def pure_pattern(random: np.random.Generator, label: int) -> np.ndarray:
    return draw_pattern(random, pattern_of_class(label, "pretraining"), CROP_SIZE, CROP_PERIOD_RANGE)


def large_emblem(random: np.random.Generator, label: int) -> np.ndarray:
    pattern, photographs = pattern_of_class(label, "pretraining"), load_photographs("train")
    return draw_emblem(random, label, pattern, photographs, CROP_SIZE, (0.7, 1.0), CROP_PERIOD_RANGE)[0]


def to_tensors(split) -> tuple[torch.Tensor, torch.Tensor]:
    """All images `(num_images, 3, IMAGE_SIZE, IMAGE_SIZE)` and labels of a split."""
    images = np.stack([np.asarray(image) for image in split["image"]])
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.tensor(split["label"])


def normalize(images: torch.Tensor) -> torch.Tensor:
    mean = torch.tensor(IMAGENET_DEFAULT_MEAN)[:, None, None]
    std = torch.tensor(IMAGENET_DEFAULT_STD)[:, None, None]
    return (images.float() / 255 - mean) / std


def augment(images: torch.Tensor, max_shift: int = 6) -> torch.Tensor:
    """Normalized images, each shifted, with its channels permuted, and with another contrast, its sign included."""
    batch_size, num_channels, height, width = images.shape
    # One gather does it all: rows and columns beyond the edge repeat it.
    shift = torch.randint(-max_shift, max_shift + 1, (2, batch_size, 1))
    rows = (torch.arange(height) + shift[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + shift[1]).clamp(0, width - 1)
    channels = torch.rand(batch_size, num_channels).argsort(dim=1)
    batch = torch.arange(batch_size)[:, None, None, None]
    images = images[batch, channels[:, :, None, None], rows[:, None, :, None], columns[:, None, None, :]]

    sign = torch.randint(0, 2, (batch_size, 1, 1, 1)) * 2 - 1
    gain = torch.empty(batch_size, 1, 1, 1).uniform_(0.7, 1.3)
    offset = torch.empty(batch_size, num_channels, 1, 1).uniform_(-0.3, 0.3)
    return normalize(images) * sign * gain + offset


def crop_positions(batch_size: int) -> torch.Tensor:
    """Indices `(batch_size, CROP_GRID_SIZE**2)` of the positions that each crop takes at a random place of the grid."""
    corner = torch.randint(0, GRID_SIZE - CROP_GRID_SIZE + 1, (2, batch_size, 1, 1))
    steps = torch.arange(CROP_GRID_SIZE)
    return ((corner[0] + steps[:, None]) * GRID_SIZE + corner[1] + steps).flatten(1)


def encode(model: ViTForImageClassification, pixel_values: torch.Tensor, positions=None, kept=None) -> torch.Tensor:
    """
    Final hidden states `(batch_size, 1 + num_tokens, hidden_size)` of a ViT that sees some of the patches only.

    `positions` `(batch_size, num_patches)` are the places of a crop's patches; `kept` `(batch_size, num_tokens)` are
    the patches of whole images that are not dropped.
    """
    embeddings = model.vit.embeddings
    position_embeddings = embeddings.position_embeddings[0]
    patches = embeddings.patch_embeddings(pixel_values)
    patches = patches + position_embeddings[1:][slice(None) if positions is None else positions]
    if kept is not None:
        patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))
    cls_token = (embeddings.cls_token + position_embeddings[0]).expand(len(patches), -1, -1)
    hidden_states = torch.cat([cls_token, patches], dim=1)
    for layer in model.vit.layers:
        hidden_states = layer(hidden_states, None)
    return model.vit.layernorm(hidden_states)


def train(model: ViTForImageClassification, args: PretrainingArguments, whole_images) -> None:
    stages = [
        ("patterns", args.pattern_steps, draw_crops(pure_pattern, args.num_train, args.seed)),
        ("crops", args.crop_steps, draw_crops(large_emblem, args.num_train, args.seed)),
        ("dropped", args.dropped_steps, whole_images),
        ("full", args.full_steps, whole_images),
    ]
    num_steps = sum(stage_steps for _, stage_steps, _ in stages)
    patch_classifier = nn.Linear(model.config.hidden_size, NUM_CLASSES)
    parameters = [*model.parameters(), *patch_classifier.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": args.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=args.learning_rate,
        betas=(0.9, 0.98),
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / args.warmup_steps,
            0.5 + 0.5 * math.cos(math.pi * max(0, step - args.warmup_steps) / max(1, num_steps - args.warmup_steps)),
        ),
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=args.label_smoothing)

    model.train()
    progress = tqdm(total=num_steps, desc="Training")
    for stage, stage_steps, (images, labels) in stages:
        accuracy = 1 / NUM_CLASSES
        for _ in range(stage_steps):
            chosen = torch.randint(0, len(images), (args.batch_size,))
            pixel_values, targets = augment(images[chosen]), labels[chosen]
            positions = crop_positions(args.batch_size) if stage in ("patterns", "crops") else None
            kept = None
            if stage == "dropped":
                kept = torch.rand(args.batch_size, GRID_SIZE**2).argsort(dim=1)[:, : GRID_SIZE**2 // 2]
            hidden_states = encode(model, pixel_values, positions, kept)
            logits = model.classifier(hidden_states[:, 0])
            patch_logits = patch_classifier(hidden_states[:, 1:].mean(dim=1))
            loss = criterion(logits, targets) + args.patch_loss_weight * criterion(patch_logits, targets)

            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            scheduler.step()
            accuracy += 0.05 * ((logits.argmax(dim=1) == targets).float().mean().item() - accuracy)
            progress.set_postfix(stage=stage, accuracy=f"{accuracy:.2f}", refresh=False)
            progress.update()
        progress.write(f"{stage}: running training accuracy {100 * accuracy:.1f} %")
    progress.close()


@torch.no_grad()
def accuracy_percent(model: ViTForImageClassification, images: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    predictions = [model(normalize(batch)).logits.argmax(dim=1) for batch in images.split(200)]
    return 100 * (torch.cat(predictions) == labels).float().mean().item()


def main() -> None:
    args = HfArgumentParser(PretrainingArguments).parse_args_into_dataclasses()[0]
    set_seed(args.seed)
    emblems = load_emblems(
        seed=args.seed,
        image_size=IMAGE_SIZE,
        num_train=args.num_train,
        variant="pretraining",
        cache_dir=args.cache_dir,
    )
    splits = {name: to_tensors(split) for name, split in emblems.items()}
    model = build_model()
    train(model, args, splits["train"])

    results = {f"{name}_accuracy": round(accuracy_percent(model, *splits[name]), 1) for name in ("validation", "test")}
    print(json.dumps(results))
    image_processor = ViTImageProcessor(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )
    save_model(model, image_processor, args.output_dir)
    write_json(Path(args.output_dir, "results.json"), results)


if __name__ == "__main__":
    main()
