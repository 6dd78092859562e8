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
Models on a Hub, with the real clients: pushed by one process, pulled by others that have never seen it.

The functions called `..._client` are the users. Each runs in an interpreter of its own (see `run_client`).
"""

import json
import re

import pytest
from hub_client import run_client
from local_hub import FAILING_COMMIT
from PIL import Image


REPO = "owner/sat-tiny"


def push_client(photo, failing_commit):
    """Pushes, pushes again, and fails to push something else."""
    import torch
    from huggingface_hub import HfApi
    from sat_testing import tiny_model

    from transformers_sat import SATForWeaklySupervisedLocalization, SATImageProcessor
    from transformers_sat.hub.publishing import push_to_hub

    torch.set_num_threads(1)
    names = dict(enumerate(("ant", "bee", "cat", "dog", "elk")))
    model = tiny_model(id2label=names, label2id={name: label for label, name in names.items()})
    processor = SATImageProcessor(size={"height": 32, "width": 32}, localization_threshold=0.3)
    first = push_to_hub(model, processor, "sat-tiny", example_image=photo, license="apache-2.0", max_shard_size="60KB")
    second = push_to_hub(model, processor, "owner/sat-tiny", example_image=photo, license="apache-2.0")
    commits = len(HfApi().list_repo_commits("owner/sat-tiny"))
    try:
        push_to_hub(tiny_model(seed=1), processor, "owner/sat-tiny", commit_message=failing_commit)
        failure = None
    except RuntimeError as error:
        failure = str(error)
    try:
        push_to_hub(model, processor, "owner/sat-other", token="hf_wrong")
        refusal = None
    except PermissionError as error:
        refusal = str(error)
    # Transformers' own way
    model.push_to_hub("owner/sat-plain")
    processor.push_to_hub("owner/sat-plain")

    # read from a file, as the others read it: where weights lie in memory decides the last bit of a product
    model.save_pretrained("saved")
    pixel_values = torch.linspace(-2, 2, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.no_grad():
        outputs = SATForWeaklySupervisedLocalization.from_pretrained("saved")(pixel_values)
    return {
        "first": first.oid,
        "second": second.oid,
        "commits": commits,
        "failure": failure,
        "refusal": refusal,
        "logits": outputs.logits.tolist(),
        "localization_map": outputs.localization_map.tolist(),
        "weights": sum(parameter.double().sum().item() for parameter in model.parameters()),
        "mutated": hasattr(model.config, "auto_map"),
    }


def pull_client(repo, photo, trust_remote_code):
    """Loads a repository in every way and runs every pipeline; returns what a user can compare."""
    import torch
    import transformers
    from PIL import Image
    from transformers import AutoImageProcessor, pipeline

    try:
        import transformers_sat

        package = transformers_sat.__name__
    except ImportError:
        package = None

    torch.set_num_threads(1)
    trust = {"trust_remote_code": True} if trust_remote_code else {}
    pixel_values = torch.linspace(-2, 2, 3 * 32 * 32).reshape(1, 3, 32, 32)
    found = {"package": package, "config": type(transformers.AutoConfig.from_pretrained(repo, **trust)).__name__}
    heads = ("ImageClassification", "ObjectDetection", "ImageSegmentation")
    heads += ("SemanticSegmentation", "InstanceSegmentation", "UniversalSegmentation")
    for name in ("AutoModel", *(f"AutoModelFor{head}" for head in heads)):
        model, info = getattr(transformers, name).from_pretrained(repo, output_loading_info=True, **trust)
        with torch.no_grad():
            outputs = model(pixel_values)
        found[name] = {
            "class": type(model).__name__,
            "missing": sorted(info["missing_keys"]),
            "logits": None if name == "AutoModel" else outputs.logits.tolist(),
            "localization_map": outputs.localization_map.tolist(),
            "weights": sum(parameter.double().sum().item() for parameter in model.parameters()),
        }
    image = Image.open(photo)
    for backend in (None, "torchvision", "pil"):
        processor = AutoImageProcessor.from_pretrained(repo, **trust, **({"backend": backend} if backend else {}))
        prepared = processor(image, return_tensors="pt").pixel_values
        found[f"processor {backend}"] = [
            type(processor).__name__,
            processor.localization_threshold,
            list(prepared.shape),
        ]
    box = processor.post_process_localization(outputs, target_sizes=[(32, 32)])[0]["boxes"].tolist()
    found["box of the last head"] = box

    def plain(results):
        keep = ("label", "score", "box")
        return [{key: each[key] for key in keep if key in each} for each in results]

    for task in ("object-detection", "image-segmentation", "image-classification", "weakly-supervised-localization"):
        localizer = pipeline(task, model=repo, **trust)
        options = {"threshold": 0.0} if task in ("object-detection", "image-segmentation") else {}
        found[task] = {
            "class": type(localizer).__name__,
            "path": plain(localizer(photo, **options)),
            "image": plain(localizer(image, **options)),
            "list": [plain(each) for each in localizer([photo, image, image], batch_size=2, **options)],
            "generator": [
                plain(each) for each in localizer((each for each in [image, image]), batch_size=2, **options)
            ],
        }
    found["without a task"] = type(pipeline(model=repo, **trust)).__name__
    if package is not None:
        # one class for each thing, however it is loaded
        trusted = transformers.AutoModelForObjectDetection.from_pretrained(repo, trust_remote_code=True)
        found["classes"] = [
            type(transformers.AutoConfig.from_pretrained(repo)) is transformers_sat.SATConfig,
            type(model) is transformers_sat.SATForWeaklySupervisedLocalization,
            type(trusted) is transformers_sat.SATForWeaklySupervisedLocalization,
            type(processor) is transformers_sat.SATImageProcessorPil,
            type(localizer) is transformers_sat.WeaklySupervisedLocalizationPipeline,
        ]
        found["saved again"] = "custom_pipelines" in model.config.to_dict()
    return found


def mixed_client(repo, folder):
    """A model whose classes came from the repository, in the hands of the installed package."""
    import sys

    import torch
    import transformers

    model = transformers.AutoModelForObjectDetection.from_pretrained(repo, trust_remote_code=True)
    processor = transformers.AutoImageProcessor.from_pretrained(repo, trust_remote_code=True)
    assert "transformers_sat" not in sys.modules and type(model).__module__.startswith("transformers_modules.")

    import transformers_sat
    from transformers_sat.hub.publishing import save_with_remote_code

    pixel_values = torch.linspace(-2, 2, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.no_grad():
        outputs = model(pixel_values)
    results = [
        each.post_process_localization(outputs, target_sizes=[(50, 70)], top_k=2)[0]["boxes"].tolist()
        for each in (processor, transformers_sat.SATImageProcessor.from_pretrained(repo))
    ]
    localizer = transformers_sat.WeaklySupervisedLocalizationPipeline(model=model, image_processor=processor)
    save_with_remote_code(model, processor, folder)

    from transformers_sat.cli import main

    assert main(["calibrate", repo, "--localization_threshold", "0.15", "--output", f"{folder}-copy"]) == 0
    saved = transformers_sat.SATForWeaklySupervisedLocalization.from_pretrained(folder)
    with torch.no_grad():
        same = torch.equal(saved(pixel_values).localization_map, outputs.localization_map)
    return {"boxes": results, "pipeline": type(localizer).__name__, "same": same}


def refused_client(repo):
    """What the Hub says to a wrong token and about a missing repository."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from transformers import AutoConfig

    answers = {}
    for name, token in (("wrong token", "hf_wrong"), ("missing", None)):
        try:
            HfApi(token=token).model_info(repo if name == "wrong token" else "owner/nothing")
        except HfHubHTTPError as error:
            answers[name] = [type(error).__name__, error.response.status_code]
    try:
        AutoConfig.from_pretrained("owner/nothing")
    except OSError as error:
        answers["from_pretrained"] = str(error)
    return answers


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "image.png"
    Image.radial_gradient("L").resize((40, 30)).convert("RGB").save(path)
    return path


@pytest.fixture(scope="module")
def pushed(local_hub, tmp_path_factory, photo):
    home = tmp_path_factory.mktemp("pusher") / "home"
    result, _ = run_client(local_hub.endpoint, home, push_client, str(photo), FAILING_COMMIT, with_package=True)
    return result


@pytest.fixture(scope="module")
def pulled_home(tmp_path_factory):
    return tmp_path_factory.mktemp("puller") / "home"


@pytest.fixture(scope="module")
def pulled(local_hub, pushed, pulled_home, photo):
    """By somebody who has only Transformers."""
    return run_client(local_hub.endpoint, pulled_home, pull_client, REPO, str(photo), True)


def complaints(log: str) -> list[str]:
    """Lines of a log that a user would worry about, but those that Transformers prints about any code from the Hub."""
    worrying = re.compile(r"error|warning|not supported|deprecated|traceback|newly initialized", re.IGNORECASE)
    return [line for line in log.splitlines() if worrying.search(line)]


def test_what_is_in_the_repository(local_hub, pushed):
    files = local_hub.repository(REPO).files
    assert files.keys() == {
        ".gitattributes",
        "README.md",
        "backbones_sat.py",
        "config.json",
        "configuration_sat.py",
        "example.png",
        "handler.py",
        "image_processing_pil_sat.py",
        "image_processing_sat.py",
        "heif_sat.py",
        "images_sat.py",
        "inputs_sat.py",
        "localization_sat.py",
        "model.safetensors",
        "modeling_sat.py",
        "pipeline_sat.py",
        "post_processing_sat.py",
        "preprocessor_config.json",
        "requirements.txt",
        "timm_sat.py",
    }
    assert not pushed["mutated"]


def test_a_push_is_one_commit(local_hub, pushed):
    """The first one was in shards; the second has one file of weights and leaves none of them behind."""
    first, second = local_hub.repository(REPO).commits[1:]
    assert (first.oid, second.oid, pushed["commits"]) == (pushed["first"], pushed["second"], 3)
    shards = [name for name in first.files if name.startswith("model-")]
    assert len(shards) > 1 and "model.safetensors.index.json" in first.files
    assert "model.safetensors" not in first.files


def test_a_failed_push_leaves_all_as_it_was(local_hub, pushed):
    repository = local_hub.repository(REPO)
    assert repository.commits[-1].oid == pushed["second"]
    assert "500" in pushed["failure"]
    assert f"The repository is as it was, at {pushed['second']}" in pushed["failure"]
    # it failed at the commit, after the weights had arrived
    requests = local_hub.requests
    commits = [at for at, each in enumerate(requests) if each.startswith(f"POST /api/models/{REPO}/commit/main")]
    assert len(commits) == 3
    assert any(each.startswith("PUT /large-files/") for each in requests[commits[1] : commits[2]])


def test_a_wrong_token_is_refused_before_anything_is_made(local_hub, pushed):
    assert "401" in pushed["refusal"]
    assert ("model", "owner/sat-other") not in local_hub.repositories


def test_transformers_own_push(local_hub, pushed):
    files = local_hub.repository("owner/sat-plain").files
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= files.keys()


def test_loads_with_transformers_alone(pushed, pulled):
    found, _ = pulled
    assert found["package"] is None
    assert found["config"] == "SATConfig"
    for name, model in found.items():
        if not name.startswith("AutoModel"):
            continue
        expected = "SATModel" if name == "AutoModel" else "SATForWeaklySupervisedLocalization"
        assert (model["class"], model["missing"]) == (expected, [])
        # to the last bit
        if name != "AutoModel":
            assert model["weights"] == pushed["weights"]
        assert model["localization_map"] == pushed["localization_map"]
        assert model["logits"] == (None if name == "AutoModel" else pushed["logits"])
    assert found["processor None"] == found["processor torchvision"] == ["SATImageProcessor", 0.3, [1, 3, 32, 32]]
    assert found["processor pil"] == ["SATImageProcessorPil", 0.3, [1, 3, 32, 32]]


def test_pipelines_with_transformers_alone(pulled):
    found, log = pulled
    classes = {
        "object-detection": "ObjectDetectionPipeline",
        "image-segmentation": "ImageSegmentationPipeline",
        "image-classification": "ImageClassificationPipeline",
        "weakly-supervised-localization": "WeaklySupervisedLocalizationPipeline",
    }
    for task, expected in classes.items():
        results = found[task]
        assert results["class"] == expected
        assert results["path"] == results["image"] and results["path"]
        for several, number in (("list", 3), ("generator", 2)):
            assert len(results[several]) == number
            for one in results[several]:
                assert [each["label"] for each in one] == [each["label"] for each in results["path"]]
                assert [each.get("box") for each in one] == [each.get("box") for each in results["path"]]
                for each, alone in zip(one, results["path"], strict=True):
                    assert each["score"] == pytest.approx(alone["score"], rel=1e-4)
    assert found["without a task"] == "WeaklySupervisedLocalizationPipeline"
    (best, *_) = found["image-classification"]["path"]
    assert best["label"] == found["weakly-supervised-localization"]["path"][0]["label"]
    assert complaints(log) == []


def test_offline_with_a_warm_cache(local_hub, pulled, pulled_home, photo):
    def offline_client(repo, photo):
        from transformers import AutoConfig, pipeline

        found = pipeline("weakly-supervised-localization", model=repo, trust_remote_code=True)(photo)
        try:
            AutoConfig.from_pretrained("owner/never-seen")
        except OSError as error:
            return [found[0]["box"], str(error)]

    before = len(local_hub.requests)
    (box, message), _ = run_client(local_hub.endpoint, pulled_home, offline_client, REPO, str(photo), offline=True)
    assert box == pulled[0]["weakly-supervised-localization"]["path"][0]["box"]
    assert "couldn't find them in the cached files" in message
    assert len(local_hub.requests) == before


def test_with_the_package_nothing_need_be_trusted(local_hub, pushed, pulled, tmp_path, photo):
    home = tmp_path / "home"
    found, log = run_client(local_hub.endpoint, home, pull_client, REPO, str(photo), False, with_package=True)
    assert found.pop("package") == "transformers_sat"
    assert found.pop("classes") == [True] * 5
    assert found.pop("saved again")
    # the task on the repository's page: without trust, its own pipeline is not looked at
    assert found.pop("without a task") == "ObjectDetectionPipeline"
    expected = {name: value for name, value in pulled[0].items() if name not in ("package", "without a task")}
    assert found == expected
    assert complaints(log) == []
    # nothing of the repository's code was fetched
    assert not list(home.rglob("modeling_sat.py"))


@pytest.fixture(scope="module")
def mixed(local_hub, pushed, tmp_path_factory):
    """What the client found, and the folder that it saved the model in."""
    folder = tmp_path_factory.mktemp("mixed")
    arguments = (REPO, str(folder / "saved"))
    return run_client(local_hub.endpoint, folder / "home", mixed_client, *arguments, with_package=True)[0], folder


def test_classes_of_the_repository_work_with_the_package(mixed):
    result, folder = mixed
    assert result["boxes"][0] == result["boxes"][1]
    assert result["pipeline"] == "WeaklySupervisedLocalizationPipeline"
    assert result["same"]
    saved = json.loads((folder / "saved" / "config.json").read_text(encoding="utf-8"))
    assert saved["auto_map"]["AutoModel"] == "modeling_sat.SATModel"


def test_a_calibrated_copy_is_the_whole_repository(local_hub, mixed):
    """Each file as it is on the Hub, but the threshold."""
    calibrated = mixed[1] / "saved-copy"
    files = local_hub.repository(REPO).files
    copied = {
        path.relative_to(calibrated).as_posix(): path.read_bytes() for path in calibrated.rglob("*") if path.is_file()
    }
    settings = json.loads(copied.pop("preprocessor_config.json"))
    assert settings == json.loads(files["preprocessor_config.json"]) | {"localization_threshold": 0.15}
    assert copied == {name: content for name, content in files.items() if name in copied}
    assert {"config.json", "model.safetensors", "handler.py", "pipeline_sat.py", "README.md"} <= set(copied)


def test_wrong_token_and_missing_repository(local_hub, pushed, tmp_path):
    answers, _ = run_client(local_hub.endpoint, tmp_path / "home", refused_client, REPO)
    assert answers["wrong token"] == ["HfHubHTTPError", 401]
    assert answers["missing"] == ["RepositoryNotFoundError", 404]
    assert "owner/nothing is not a local folder" in answers["from_pretrained"]
