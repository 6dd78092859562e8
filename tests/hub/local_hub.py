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
A Hub for the tests, on this machine: what `huggingface_hub`, `transformers`, `datasets` and `evaluate` ask of
huggingface.co to create, push and pull models, data sets and Spaces, kept in memory.

It keeps every commit with its parent, refuses wrong tokens (401), knows what is missing (404), and can fail a commit (500).
It does not do: Xet storage, pull requests, branches and tags other than `main`, private or gated repositories, rights
within an organization, rate limits, the data set viewer, redirects to a content network, HTTPS. Its rules for a card's YAML are in
`card_rules`. So a test that passes here says that the real clients agree with these addresses, not that the
real Hub would take everything.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from card_rules import card_problems


TOKEN = "hf_token_of_the_owner"
OWNER = "owner"
# A commit with this in its summary is answered with an error of the server, after all of its files have been received.
FAILING_COMMIT = "let this commit fail"
# Files of these kinds, and those beyond this size, go to the storage for large files, as on the Hub.
LARGE_FILES = (".parquet", ".safetensors", ".png", ".jpg", ".bin", ".onnx")
LARGE_SIZE = 10_000_000
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass
class Commit:
    """The state of a repository after a commit: all of its files by path."""

    oid: str
    parent: str | None
    title: str
    files: dict[str, bytes]


@dataclass
class Repository:
    kind: str
    name: str
    commits: list[Commit] = field(default_factory=list)

    def __post_init__(self):
        self.add_commit("initial commit", {".gitattributes": b"*.safetensors filter=lfs\n"})

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1].files

    def add_commit(self, title: str, files: dict[str, bytes]) -> Commit:
        parent = self.commits[-1].oid if self.commits else None
        listing = [(path, hashlib.sha256(content).hexdigest()) for path, content in sorted(files.items())]
        oid = hashlib.sha1(repr((self.kind, self.name, parent, title, listing)).encode()).hexdigest()
        self.commits.append(Commit(oid, parent, title, files))
        return self.commits[-1]

    def at(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit.oid == revision), None)


class LocalHub:
    """The server; use it as a context manager. `repositories` holds them by kind and name."""

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (HubHandler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self._server.shutdown()
        self._server.server_close()

    def repository(self, name: str, kind: str = "model") -> Repository:
        return self.repositories[kind, name]


class Answer(Exception):
    """Ends a request."""

    def __init__(self, status: int, content: dict | list | bytes = b"", headers: dict[str, str] | None = None):
        self.status, self.headers = status, headers or {}
        self.content = content if isinstance(content, bytes) else json.dumps(content).encode()


def refusal(status: int, code: str, message: str, **headers) -> Answer:
    return Answer(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message, **headers})


class HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LocalHub = None

    # Method, pattern of the path, name of what answers it. In a pattern {kind} is models, datasets or spaces, and
    # {prefix} the same as it stands before a repository's files: nothing for a model.
    ROUTES = [
        ("GET", "/api/whoami-v2", "who_am_i"),
        ("POST", "/api/repos/create", "create"),
        ("POST", "/api/validate-yaml", "validate_yaml"),
        ("GET", "/api/{kind}/{name}", "info"),
        ("GET", "/api/{kind}/{name}/revision/{revision}", "info"),
        ("GET", "/api/{kind}/{name}/tree/{revision}(?:/(?P<folder>.+))?", "tree"),
        ("POST", "/api/{kind}/{name}/paths-info/{revision}", "paths_info"),
        ("GET", "/api/{kind}/{name}/commits/{revision}", "history"),
        ("GET", "/api/{kind}/{name}/refs", "references"),
        ("POST", "/api/{kind}/{name}/preupload/{revision}", "preupload"),
        ("POST", "/api/{kind}/{name}/commit/{revision}", "commit"),
        ("POST", "/{prefix}{name}.git/info/lfs/objects/batch", "large_file_batch"),
        ("PUT", "/large-files/(?P<oid>[0-9a-f]{64})", "put_large_file"),
        ("GET", "/{prefix}{name}/resolve/{revision}/(?P<path>.+)", "resolve"),
    ]
    PARTS = {
        "{kind}": "(?P<kind>models|datasets|spaces)",
        "{prefix}": "(?:(?P<kind>datasets|spaces)/)?",
        "{name}": r"(?P<name>[\w.-]+/[\w.-]+?)",
        "{revision}": "(?P<revision>[^/]+)",
    }

    def do_GET(self):
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def answer(self):
        self.hub.requests.append(f"{self.command} {self.path}")
        self.body = (
            self.rfile.read(int(self.headers.get("Content-Length", 0))) if not self.chunked() else self.chunks()
        )
        try:
            answer = self.route()
        except Answer as refused:
            answer = refused
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.content)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    def chunked(self) -> bool:
        return self.headers.get("Transfer-Encoding", "").lower() == "chunked"

    def chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def route(self) -> Answer:
        address = urlsplit(self.path)
        self.query = parse_qs(address.query)
        method = "GET" if self.command == "HEAD" else self.command
        for route_method, pattern, name in self.ROUTES:
            for part, expression in self.PARTS.items():
                pattern = pattern.replace(part, expression)
            found = re.fullmatch(pattern, address.path)
            if route_method == method and found:
                self.check_token(
                    required=method != "GET" and name not in ("validate_yaml", "put_large_file", "paths_info")
                )
                parts = {key: unquote(value) if value else value for key, value in found.groupdict().items()}
                parts["kind"] = KINDS.get(parts.get("kind"), "model")
                return getattr(self, name)(**self.wanted(name, parts))
        raise refusal(404, "NotFound", "no such page")

    def wanted(self, name: str, parts: dict) -> dict:
        """The repository and the commit that the address names, in the place of their names."""
        if "name" not in parts:
            return {key: value for key, value in parts.items() if key != "kind"}
        repository = self.hub.repositories.get((parts.pop("kind"), parts.pop("name")))
        if repository is None:
            raise refusal(404, "RepoNotFound", "Repository not found")
        revision = parts.pop("revision", "main")
        commit = repository.at(revision or "main")
        if commit is None:
            raise refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return {"repository": repository, "commit": commit, **parts}

    def check_token(self, required: bool):
        authorization = self.headers.get("Authorization")
        if authorization is None and not required:
            return
        if authorization is None:
            raise Answer(401, {"error": "Invalid username or password."})
        if authorization != f"Bearer {TOKEN}":
            message = "Invalid credentials in Authorization header"
            raise Answer(401, {"error": message}, {"X-Error-Message": message})

    # repositories

    def who_am_i(self) -> Answer:
        self.check_token(required=True)
        account = {"type": "user", "name": OWNER, "fullname": OWNER, "orgs": [], "isPro": False}
        return Answer(200, account | {"auth": {"type": "access_token", "accessToken": {"role": "write"}}})

    def create(self) -> Answer:
        asked = json.loads(self.body)
        kind, name = asked.get("type") or "model", f"{asked.get('organization') or OWNER}/{asked['name']}"
        prefix = "" if kind == "model" else f"{kind}s/"
        page = {"url": f"{self.hub.endpoint}/{prefix}{name}", "name": name, "id": name}
        with self.hub.lock:
            if (kind, name) in self.hub.repositories:
                return Answer(409, page | {"error": "You already created this repository"})
            self.hub.repositories[kind, name] = Repository(kind, name)
        return Answer(200, page)

    def info(self, repository: Repository, commit: Commit) -> Answer:
        card = card_data(commit.files.get("README.md", b""))
        page = {
            "_id": commit.oid[:24],
            "id": repository.name,
            "author": repository.name.split("/")[0],
            "sha": commit.oid,
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": card.get("tags") or [],
            "downloads": 0,
            "likes": 0,
            "cardData": card,
            "siblings": [{"rfilename": path} for path in sorted(commit.files)],
        }
        page |= {name: card[name] for name in ("library_name", "pipeline_tag") if name in card}
        return Answer(200, page)

    def tree(self, repository: Repository, commit: Commit, folder: str | None) -> Answer:
        recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        prefix = f"{folder}/" if folder else ""
        paths = [path for path in sorted(commit.files) if path.startswith(prefix)]
        if folder and not paths:
            raise refusal(404, "EntryNotFound", f"{folder} does not exist", **{"X-Repo-Commit": commit.oid})
        folders = {path.removeprefix(prefix).split("/")[0] for path in paths if "/" in path.removeprefix(prefix)}
        entries = [
            {"type": "directory", "oid": commit.oid, "size": 0, "path": prefix + name} for name in sorted(folders)
        ]
        files = [path for path in paths if recursive or "/" not in path.removeprefix(prefix)]
        return Answer(200, entries + [file_entry(path, commit.files[path]) for path in files])

    def paths_info(self, repository: Repository, commit: Commit) -> Answer:
        if "json" in self.headers.get("Content-Type", ""):
            paths = json.loads(self.body)["paths"]
        else:
            paths = parse_qs(self.body.decode())["paths"]
        return Answer(200, [file_entry(path, commit.files[path]) for path in paths if path in commit.files])

    def history(self, repository: Repository, commit: Commit) -> Answer:
        return Answer(
            200,
            [
                {"id": each.oid, "title": each.title, "message": "", "date": "2026-01-01T00:00:00.000Z", "authors": []}
                for each in reversed(repository.commits)
            ],
        )

    def references(self, repository: Repository, commit: Commit) -> Answer:
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commits[-1].oid}
        return Answer(200, {"branches": [main], "tags": [], "converts": []})

    # pushing

    def validate_yaml(self) -> Answer:
        asked = json.loads(self.body)
        errors, warnings = card_problems(asked["content"], asked.get("repoType") or "model")
        problems = {"errors": [{"message": each} for each in errors]}
        problems["warnings"] = [{"message": each} for each in warnings]
        return Answer(400 if errors else 200, problems)

    def preupload(self, repository: Repository, commit: Commit) -> Answer:
        files = []
        for each in json.loads(self.body)["files"]:
            path, content = each["path"], commit.files.get(each["path"])
            large = path.endswith(LARGE_FILES) or each["size"] > LARGE_SIZE
            # the id of what is there lets the client leave out what has not changed
            oid = None if content is None else hash_of(content, large)
            mode = "lfs" if large else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return Answer(200, {"files": files, "commitOid": commit.oid})

    def large_file_batch(self, repository: Repository, commit: Commit) -> Answer:
        objects = []
        for each in json.loads(self.body)["objects"]:
            answer = {"oid": each["oid"], "size": each["size"], "authenticated": True}
            if each["oid"] not in self.hub.large_files:
                answer["actions"] = {"upload": {"href": f"{self.hub.endpoint}/large-files/{each['oid']}"}}
            objects.append(answer)
        return Answer(200, {"transfer": "basic", "objects": objects})

    def put_large_file(self, oid: str) -> Answer:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Answer(400, {"error": "the content is not what its hash says"})
        self.hub.large_files[oid] = self.body
        return Answer(200)

    def commit(self, repository: Repository, commit: Commit) -> Answer:
        """All of the operations or none: the new state is put together first, then added."""
        header, *operations = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        files = dict(commit.files)
        for operation in operations:
            value = operation["value"]
            match operation["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    if value["oid"] not in self.hub.large_files:
                        raise Answer(400, {"error": f"{value['path']} was not uploaded"})
                    files[value["path"]] = self.hub.large_files[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
                case "deletedFolder":
                    files = {path: each for path, each in files.items() if not path.startswith(value["path"])}
                case unknown:
                    raise Answer(400, {"error": f"unknown operation {unknown}"})
        if FAILING_COMMIT in header["value"]["summary"]:
            raise Answer(500, {"error": "Internal Error"})
        with self.hub.lock:
            expected = header["value"].get("parentCommit", commit.oid)
            if repository.commits[-1].oid != expected:
                raise Answer(412, {"error": "A commit has happened since. Please refresh and try again."})
            new = repository.add_commit(header["value"]["summary"], files)
        address = f"{self.hub.endpoint}/{repository.name}/commit/{new.oid}"
        return Answer(200, {"success": True, "commitOid": new.oid, "commitUrl": address, "hookOutput": ""})

    # pulling

    def resolve(self, repository: Repository, commit: Commit, path: str) -> Answer:
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        content = commit.files.get(path)
        if content is None:
            raise refusal(404, "EntryNotFound", f"{path} does not exist", **headers)
        headers |= {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Content-Type": "application/octet-stream"}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return Answer(200, content, headers)
        first, last = asked.groups()
        start = int(first) if first else len(content) - int(last)
        end = min(int(last) + 1, len(content)) if first and last else len(content)
        if not 0 <= start < end:
            raise Answer(416, b"", headers | {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        return Answer(206, content[start:end], headers)

    def log_message(self, *arguments):
        pass


def hash_of(content: bytes, large: bool) -> str:
    """SHA-256 for a large file, git's own hash of a file for another."""
    if large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def file_entry(path: str, content: bytes) -> dict:
    entry = {"type": "file", "oid": hash_of(content, large=False), "size": len(content), "path": path}
    if path.endswith(LARGE_FILES) or len(content) > LARGE_SIZE:
        entry["lfs"] = {"oid": hash_of(content, large=True), "size": len(content), "pointerSize": 134}
    return entry


def card_data(card: bytes) -> dict:
    """The YAML at the head of a card."""
    found = re.match(rb"---\s*\n(.*?)\n---", card, re.DOTALL)
    return (yaml.safe_load(found.group(1)) or {}) if found else {}


__all__ = ["FAILING_COMMIT", "OWNER", "TOKEN", "Commit", "LocalHub", "Repository"]
