"""A loopback stand-in for the Hub: enough of its HTTP API for push and load round trips, offline.

Files live under `root/<models|datasets|spaces>/<owner>/<name>/`; every commit gives the repository a new sha.
Needs HF_HUB_DISABLE_XET=1: weights and Parquet travel the plain LFS route, everything else inside the commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".parquet", ".safetensors", ".bin")
REPO = r"(models|datasets|spaces)/([^/]+/[^/]+)"
DATE = "2026-01-01T00:00:00.000Z"


class FakeHub:
    """Serves `root` on a free port of 127.0.0.1 from a background thread.

    Attributes:
        url: what HF_ENDPOINT must be.
        requests: (method, path) of everything that was asked.
        private: "<kind>/<owner>/<name>" to the flag it was created with.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.requests: list[tuple[str, str]] = []
        self.private: dict[str, bool] = {}
        self.blobs: dict[str, bytes] = {}
        self._commits: dict[str, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sha(self, key: str) -> str:
        return hashlib.sha1(f"{key}{self._commits.get(key, 0)}".encode()).hexdigest()

    def commit(self, key: str, operations: list[dict[str, Any]]) -> str:
        folder = self.root / key
        for operation in operations:
            value, path = operation["value"], folder / operation["value"].get("path", "")
            if operation["key"] == "deletedFile":
                path.unlink()
            elif operation["key"] in ("file", "lfsFile"):
                path.parent.mkdir(parents=True, exist_ok=True)
                inline = operation["key"] == "file"
                path.write_bytes(base64.b64decode(value["content"]) if inline else self.blobs[value["oid"]])
        self._commits[key] = self._commits.get(key, 0) + 1
        return self.sha(key)


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0}
    oid = hashlib.sha1(name.encode() + path.read_bytes()).hexdigest()
    return {"type": "file", "path": name, "size": path.stat().st_size, "oid": oid}


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Keep the test output quiet; `FakeHub.requests` is the log."""

    def do_GET(self) -> None:
        self._route(GET)

    def do_HEAD(self) -> None:
        self._route(GET)

    def do_POST(self) -> None:
        self._route(POST)

    def do_PUT(self) -> None:
        self._route(PUT)

    def _route(self, routes: list[tuple[str, Callable[..., None]]]) -> None:
        self.hub.requests.append((self.command, self.path))
        address = urlsplit(self.path)
        self.query, self.content = parse_qs(address.query), self._read()
        for pattern, answer in routes:
            if match := re.fullmatch(pattern, unquote(address.path)):
                return answer(self, *match.groups())
        return self.missing("Entry")

    def _read(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def reply(self, body: Any, code: int = 200, headers: dict[str, str] | None = None) -> None:
        raw = isinstance(body, bytes)
        content = body if raw else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/octet-stream" if raw else "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def missing(self, what: str) -> None:
        message = f"{what} not found"
        self.reply({"error": message}, 404, {"X-Error-Code": f"{what}NotFound", "X-Error-Message": message})

    def folder(self, kind: str, repo: str) -> Path | None:
        folder = self.hub.root / kind / repo
        if not folder.is_dir():
            self.missing("Repo")
            return None
        return folder

    def whoami(self) -> None:
        token = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
        self.reply({"type": "user", "name": "me", "orgs": [], "auth": token})

    def info(self, kind: str, repo: str, _revision: str | None) -> None:
        if folder := self.folder(kind, repo):
            files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
            names = {"_id": "0", "id": repo, "modelId": repo, "author": repo.split("/")[0]}
            state = {"sha": self.hub.sha(f"{kind}/{repo}"), "private": self.hub.private.get(f"{kind}/{repo}", False)}
            counts = {"gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}
            dates = {"lastModified": DATE, "createdAt": DATE}
            self.reply({**names, **state, **counts, **dates, "siblings": [{"rfilename": f} for f in files]})

    def tree(self, kind: str, repo: str, _revision: str, inside: str | None) -> None:
        if not (folder := self.folder(kind, repo)):
            return
        base = folder / (inside or "")
        if not base.is_dir():
            return self.missing("Entry")
        recursive = self.query.get("recursive", ["false"])[0].lower() == "true"
        return self.reply([_entry(p, folder) for p in sorted(base.rglob("*") if recursive else base.iterdir())])

    def refs(self, kind: str, repo: str) -> None:
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": self.hub.sha(f"{kind}/{repo}")}
        self.reply({"branches": [main], "converts": [], "tags": []})

    def paths_info(self, kind: str, repo: str, _revision: str) -> None:
        if folder := self.folder(kind, repo):
            form = parse_qs(self.content.decode()) or json.loads(self.content or b"{}")
            self.reply([_entry(folder / p, folder) for p in form.get("paths", []) if (folder / p).exists()])

    def resolve(self, kind: str | None, repo: str, _revision: str, name: str) -> None:
        kind = kind or "models"
        if not (folder := self.folder(kind, repo)):
            return None
        if not (folder / name).is_file():
            return self.missing("Entry")
        content = (folder / name).read_bytes()
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        headers["X-Repo-Commit"] = self.hub.sha(f"{kind}/{repo}")
        if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(span[1]), min(int(span[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return self.reply(content[first : last + 1], 206, headers)
        return self.reply(content, 200, headers)

    def create(self) -> None:
        form = json.loads(self.content)
        kind = form.get("type", "model") + "s"
        repo = f"{form.get('organization') or 'me'}/{form['name']}"
        where = f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{repo}"
        if (self.hub.root / kind / repo).exists():
            return self.reply({"error": "exists", "url": where}, 409)
        (self.hub.root / kind / repo).mkdir(parents=True)
        self.hub.private[f"{kind}/{repo}"] = bool(form.get("private")) or form.get("visibility") == "private"
        return self.reply({"url": where, "name": repo, "id": "0"})

    def preupload(self, _kind: str, _repo: str, _revision: str) -> None:
        files = [f["path"] for f in json.loads(self.content)["files"]]
        mode = {True: "lfs", False: "regular"}
        answers = [
            {"path": f, "uploadMode": mode[f.endswith(LARGE)], "shouldIgnore": False, "oid": None} for f in files
        ]
        self.reply({"files": answers})

    def lfs_batch(self) -> None:
        objects = [{**o, "authenticated": True} for o in json.loads(self.content)["objects"]]
        for item in objects:
            if item["oid"] not in self.hub.blobs:
                item["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}
        self.reply({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        self.hub.blobs[oid] = self.content
        self.reply(b"")

    def make_commit(self, kind: str, repo: str, _revision: str) -> None:
        if self.folder(kind, repo):
            lines = [json.loads(line) for line in self.content.decode().split("\n") if line]
            sha = self.hub.commit(f"{kind}/{repo}", lines)
            where = f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{repo}/commit/{sha}"
            self.reply({"success": True, "commitOid": sha, "commitUrl": where, "hookOutput": ""})

    def validate_yaml(self) -> None:
        self.reply({"errors": [], "warnings": []})


GET = [
    (r"/api/whoami-v2", _Handler.whoami),
    (rf"/api/{REPO}(?:/revision/([^/]+))?", _Handler.info),
    (rf"/api/{REPO}/tree/([^/]+)(?:/(.*))?", _Handler.tree),
    (rf"/api/{REPO}/refs", _Handler.refs),
    (r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", _Handler.resolve),
]
POST = [
    (r"/api/validate-yaml", _Handler.validate_yaml),
    (r"/api/repos/create", _Handler.create),
    (rf"/api/{REPO}/preupload/([^/]+)", _Handler.preupload),
    (r"/.+\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    (rf"/api/{REPO}/commit/([^/]+)", _Handler.make_commit),
    (rf"/api/{REPO}/paths-info/([^/]+)", _Handler.paths_info),
]
PUT = [(r"/lfs/([^/]+)", _Handler.lfs_put)]
