#!/usr/bin/env bash
# Looks at what `python -m build` left in a folder, and uses the wheel as somebody who installed it: `make build`.
#   tests/check_distributions.sh PYTHON FOLDER
set -euo pipefail
python=$(realpath --no-symlinks "$1")
wheel=$(realpath "$2"/transformers_sat-*.whl)
sources=$(realpath "$2"/transformers_sat-*.tar.gz)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# nothing of what training writes, and no environments or caches
tops=$(tar -tzf "$sources" | cut -d/ -f2 | grep . | LC_ALL=C sort -u | tr '\n' ' ')
expected="CHANGELOG.md CITATION.cff LICENSE MANIFEST.in PKG-INFO README.md pyproject.toml setup.cfg src "
[ "$tops" = "$expected" ] || { echo "The sources hold: $tops" >&2; exit 1; }

# without its dependencies: PYTHON has them, and PyTorch is large
"$python" -m pip install --quiet --no-deps --target "$folder/installed" "$wheel"
cd "$folder"
export PYTHONPATH="$folder/installed" HF_HUB_OFFLINE=1
"$folder/installed/bin/transformers-sat" --help >/dev/null
"$python" - "$folder/installed" <<'PYTHON'
import importlib.metadata
import sys
from pathlib import Path

import PIL.Image
import transformers_sat
from transformers import AutoModel
from transformers_sat.cli import main
from transformers_sat.drawn import emblem_backbone_path

installed = Path(sys.argv[1])
package = Path(transformers_sat.__file__).parent
assert package.parent == installed, f"{package} is not what was installed in {installed}"
assert importlib.metadata.version("transformers-sat") == transformers_sat.__version__
for name in ("py.typed", "hub/templates/model_card.md", "prepare/templates/dataset_card.md", "drawn/stamps_catalog.json"):
    assert (package / name).is_file(), name

assert main(["convert", "backbone", str(emblem_backbone_path()), "model"]) == 0
assert type(AutoModel.from_pretrained("model")) is transformers_sat.SATModel
PIL.Image.new("RGB", (120, 90), (200, 100, 0)).save("image.png")
PYTHON
"$folder/installed/bin/transformers-sat" predict model image.png
