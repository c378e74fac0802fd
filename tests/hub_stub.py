"""A Hub on 127.0.0.1: as much of its API as uploads and downloads use, and failures on demand.

Repositories live in memory, as lists of commits that map paths to content. `files` tells what was
committed, `requests` what was asked, `stub.fail(...)` what goes wrong.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

TOKEN = "hf_of_me"
LARGE = (".safetensors", ".png", ".gif", ".bin")  # what goes to large-file storage


@dataclass
class Repository:
    """Branches of commits: each a mapping from path to content, with what it was called."""

    private: bool = False
    gated: bool = False
    branches: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.branches.setdefault("main", [{".gitattributes": b"*.safetensors filter=lfs\n"}])

    def head(self, revision):
        for branch, commits in self.branches.items():
            if revision == branch:
                return commits[-1]
            for commit in commits:
                if revision == sha(commit):
                    return commit
        return None


@dataclass
class Failure:
    """What is answered instead; `after` = once the request has been carried out."""

    method: str
    path: str
    status: int | None  # None = the connection is cut
    times: int
    headers: dict[str, str]
    after: bool
    skip: int


def sha(commit):
    """The name of a commit: of its content alone."""
    digest = hashlib.sha1()
    for name, content in sorted(commit.items()):
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()


def oid_of(path, content):
    """The name of a file's content, as the Hub tells it: of small files that of git."""
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class HubStub:
    """The Hub, what it holds and what it was asked."""

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}  # large files, by their SHA-256
        self.requests: list[tuple[str, str]] = []
        self.failures: list[Failure] = []
        self.waits: list[float] = []  # seconds that the client would have waited
        self.role = "write"
        self.writable = ("me", "team")  # namespaces
        self.on_request = lambda method, path: None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.server.hub = self
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True, args=(0.02,)).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def fail(self, path, status, *, method="POST", times=1, after=False, skip=0, headers=()):
        """The next requests whose path fits the expression end so; status None cuts them off."""
        failure = Failure(method, path, status, times, dict(headers), after, skip)
        self.failures.append(failure)

    def files(self, name, revision="main"):
        """What a repository holds, without what the Hub puts there itself."""
        head = self.repositories[name].head(revision)
        return {path: content for path, content in head.items() if path != ".gitattributes"}

    def commits(self, name, revision="main"):
        return len(self.repositories[name].branches[revision]) - 1

    def asked(self, expression, method=None):
        """How often."""
        return sum(
            re.search(expression, path) is not None and method in (None, verb)
            for verb, path in self.requests
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    routes: ClassVar = [
        ("GET", r"/api/whoami-v2$", "whoami"),
        ("POST", r"/api/validate-yaml$", "validate"),
        ("POST", r"/api/repos/create$", "create"),
        ("GET", r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?$", "info"),
        ("GET", r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", "tree"),
        ("POST", r"/api/models/([^/]+/[^/]+)/branch/([^/]+)$", "branch"),
        ("POST", r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)$", "preupload"),
        ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch$", "batch"),
        ("PUT", r"/storage/(\w+)$", "store"),
        ("POST", r"/verify$", "verify"),
        ("POST", r"/api/models/([^/]+/[^/]+)/commit/([^/]+)$", "commit"),
        ("GET", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$", "resolve"),
    ]

    def do_GET(self):
        self._serve("GET")

    def do_HEAD(self):
        self._serve("HEAD")

    def do_POST(self):
        self._serve("POST")

    def do_PUT(self):
        self._serve("PUT")

    def log_message(self, *_):
        pass

    def _serve(self, method):
        hub = self.server.hub
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        if parts.path != "/api/agent-harnesses":  # asked once a process, for its user agent
            hub.requests.append((method, parts.path))
            hub.on_request(method, parts.path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self._chunks()
        failure = self._failure(method, parts.path)
        if failure and not failure.after:
            self._break(failure)
            return
        reply = self._route(method, parts.path)
        if failure:
            self._break(failure)
        else:
            self._reply(*reply)

    def _chunks(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _failure(self, method, path):
        for failure in self.server.hub.failures:
            if failure.method == method and re.search(failure.path, path) and failure.times:
                if failure.skip:
                    failure.skip -= 1
                    continue
                failure.times -= 1
                return failure
        return None

    def _break(self, failure):
        if failure.status is None:
            self.close_connection = True
            self.connection.close()
        else:
            self._reply(failure.status, {"error": "as the test wants"}, failure.headers)

    def _reply(self, status, content=b"", headers=()):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(status)
        sent = {"Content-Length": str(len(content)), **dict(headers)}
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _route(self, method, path):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token != TOKEN:
            told = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return 401, {"error": "Invalid credentials in Authorization header"}, told
        self.known = bool(token)
        for verb, expression, name in self.routes:
            found = re.match(expression, path)
            if found and verb == ("GET" if method == "HEAD" else method):
                words = [None if each is None else unquote(each) for each in found.groups()]
                return getattr(self, f"_{name}")(*words)
        return 404, {"error": f"the stub does not know {method} {path}"}

    # ------------------------------------------------------------------------------- who and where
    def _whoami(self):
        if not self.known:
            return 401, {"error": "Invalid username or password."}
        token = {"displayName": "mine", "role": self.server.hub.role}
        orgs = [{"name": name} for name in self.server.hub.writable[1:]]
        return 200, {"name": "me", "orgs": orgs, "auth": {"accessToken": token}}

    def _validate(self):
        front = json.loads(self.body)["content"].split("---")
        if "license: none-such" in (front[1] if len(front) > 1 else ""):
            return 400, {"errors": [{"message": '"license" must be one of'}], "warnings": []}
        return 200, {"errors": [], "warnings": []}

    def _refusal(self, name, revision="main", write=False):
        """The Hub's answer to who may not see, or not change; None to all others."""
        repository = self.server.hub.repositories.get(name)
        if repository is None or (repository.private and not self.known):
            code = 404 if self.known else 401
            return code, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        if repository.head(revision) is None:
            return 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}
        if write and name.partition("/")[0] not in self.server.hub.writable:
            return 403, {"error": "You have read access but not the required permissions"}
        return None

    def _create(self):
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        hub = self.server.hub
        if name.partition("/")[0] not in hub.writable:
            return 403, {"error": f"You don't have the rights to create a model under {name}"}
        told = {"url": f"{hub.address}/{name}", "name": name}
        if name in hub.repositories:
            return 409, told | {"error": "You already created this model repo"}
        private = asked.get("visibility") == "private" or asked.get("private") is True
        hub.repositories[name] = Repository(private=private)
        return 200, told

    def _info(self, name, revision):
        revision = revision or "main"
        if refusal := self._refusal(name, revision):
            return refusal
        repository = self.server.hub.repositories[name]
        head = repository.head(revision)
        siblings = [{"rfilename": path} for path in sorted(head)]
        told = {"id": name, "sha": sha(head), "siblings": siblings}
        return 200, told | {"private": repository.private, "gated": repository.gated}

    def _tree(self, name, revision):
        if refusal := self._refusal(name, revision):
            return refusal
        rows = []
        for path, content in sorted(self.server.hub.repositories[name].head(revision).items()):
            row = {"type": "file", "path": path, "size": len(content)}
            row["oid"] = oid = oid_of(path, content)
            if path.endswith(LARGE):
                row["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
            rows.append(row)
        return 200, rows

    def _branch(self, name, branch):
        if refusal := self._refusal(name, write=True):
            return refusal
        repository = self.server.hub.repositories[name]
        if branch in repository.branches:
            return 409, {"error": "Reference already exists"}
        repository.branches[branch] = list(repository.branches["main"][-1:])
        return 200, {}

    # -------------------------------------------------------------------------------------- upload
    def _preupload(self, name, revision):
        if refusal := self._refusal(name, revision, write="create_pr" not in self.query):
            return refusal
        asked = json.loads(self.body)
        head = self.server.hub.repositories[name].head(revision)
        ignore = asked.get("gitIgnore", head.get(".gitignore", b"").decode()).splitlines()
        rows = []
        for file in asked["files"]:
            path = file["path"]
            row = {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular"}
            row["shouldIgnore"] = any(fnmatch(path, pattern) for pattern in ignore)
            if path in head:  # large files are named by their content
                row["oid"] = oid_of(path, head[path])
            rows.append(row)
        return 200, {"files": rows}

    def _batch(self, name):
        if refusal := self._refusal(name):
            return refusal
        hub = self.server.hub
        objects = []
        for asked in json.loads(self.body)["objects"]:
            found = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in hub.stored:
                href = f"{hub.address}/storage/{asked['oid']}"
                verify = {"href": f"{hub.address}/verify"}
                found["actions"] = {"upload": {"href": href}, "verify": verify}
            objects.append(found)
        return 200, {"transfer": "basic", "objects": objects}

    def _store(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            return 400, {"error": "another content"}
        self.server.hub.stored[oid] = self.body
        return 200, b""

    def _verify(self):
        return (200 if json.loads(self.body)["oid"] in self.server.hub.stored else 404), {}

    def _commit(self, name, revision):
        pull = "create_pr" in self.query
        if refusal := self._refusal(name, revision, write=not pull):
            return refusal
        hub = self.server.hub
        repository = hub.repositories[name]
        content = dict(repository.head(revision))
        for line in self.body.splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "header":
                message = value["summary"]
            elif row["key"] == "file":
                content[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                content[value["path"]] = hub.stored[value["oid"]]
            elif row["key"] == "deletedFile":
                del content[value["path"]]
            else:
                return 400, {"error": f"the stub does not know {row['key']}"}
        number = sum(branch.startswith("refs/pr/") for branch in repository.branches) + 1
        branch = f"refs/pr/{number}" if pull else revision
        repository.branches.setdefault(branch, list(repository.branches["main"][-1:]))
        repository.branches[branch].append(content)
        repository.messages.append(message)
        told = {"commitUrl": f"{hub.address}/{name}/commit/{sha(content)}"}
        told |= {"commitOid": sha(content), "success": True}
        if pull:
            told["pullRequestUrl"] = f"{hub.address}/{name}/discussions/{number}"
        return 200, told

    # ------------------------------------------------------------------------------------ download
    def _resolve(self, name, revision, path):
        if refusal := self._refusal(name, revision):
            return refusal
        repository = self.server.hub.repositories[name]
        if repository.gated:
            message = f"Access to model {name} is restricted and you are not in the list"
            told = {"X-Error-Code": "GatedRepo", "X-Error-Message": message}
            return 403, {"error": message}, told
        head = repository.head(revision)
        told = {"X-Repo-Commit": sha(head)}
        if path not in head:
            return 404, {}, told | {"X-Error-Code": "EntryNotFound"}
        content = head[path]
        return 200, content, told | {"ETag": f'"{oid_of(path, content)}"'}


# ------------------------------------------------------------------------------------- the fixture
@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that this process asks instead of the real one, logged in, with an empty cache."""
    import huggingface_hub.hf_api  # an attribute only once it is imported
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    stub = HubStub()
    template = stub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", stub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", stub.address)
    # transformers keeps one of its own, made at the first call
    monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    clock = SimpleNamespace(sleep=stub.waits.append)  # nothing waits to try again
    monkeypatch.setattr(_http, "time", clock)
    monkeypatch.setattr("ardm.training.upload.time", clock)
    yield stub
    stub.close()
    huggingface_hub.close_session()
