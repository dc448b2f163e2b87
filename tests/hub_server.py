"""A stand-in of the Hugging Face Hub: the part of its HTTP interface that huggingface_hub uses for models and Spaces.

It listens on loopback and answers real requests, so that a test sees what a user's network would carry. Large files come from a
second address, as they come from a CDN on the Hub, and no token may reach that one. A test can look at the log of requests, let
requests fail or connections drop, serve a damaged file, and take the Hub down and up again:

    def test_something(hub):
        hub.add_repo("someone/model", folder=checkpoint)
        hub.fail("GET", r"model_index\\.json", status=503, times=2)
        ...
        assert hub.paths("PUT") == []
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import re
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
import yaml

from tests.hub_store import Blob, Commit, Refusal, Repo, card_errors, front_matter, is_large

DATE = "2026-01-01T00:00:00.000Z"
CHUNK = 1 << 16


@dataclass(frozen=True)
class Account:
    name: str
    may_write: bool = True
    organisations: tuple[str, ...] = ()

    def owns(self, repo: Repo) -> bool:
        return repo.owner in (self.name, *self.organisations)


@dataclass
class Exchange:
    """A request as the Hub saw it: `path` without the query, the bytes of both bodies, and whose token came along."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    user: str = ""
    status: int = 0
    sent: int = 0
    received: int = 0


@dataclass
class Fault:
    """The next `times` requests that match fail: with a status; by silence; or by a connection closed after `after` bytes."""

    method: str
    pattern: str
    times: int
    status: int = 0
    after: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    silent: bool = False


class Dropped(Exception):
    """The connection is closed without another word."""


class Hub:
    """State and server. `url` is its address; the account "user" may write and has the token `token`."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.accounts: dict[str, Account] = {}
        self.token = self.add_account("user")
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.log: list[Exchange] = []
        self.faults: list[Fault] = []
        self.damaged: set[str] = set()
        self.lock = threading.RLock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    # The server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def storage_url(self) -> str:
        return f"http://localhost:{self._port}"

    def start(self) -> None:
        """Listens, after `stop` on the same port and with the same repositories."""
        handler = type("HubHandler", (Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", self._port), handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """The Hub is down: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def process_environment(self) -> dict[str, str]:
        """Environment for another process that shall use this Hub, with its cache and whatever token is set now."""
        return {**os.environ, **environment(self)}

    # What it holds

    def add_account(self, name: str, may_write: bool = True, organisations: tuple[str, ...] = ()) -> str:
        """A new account -> its token."""
        token = "hf_" + hashlib.sha256(name.encode()).hexdigest()[:34]
        self.accounts[token] = Account(name, may_write, organisations)
        return token

    def add_repo(
        self,
        repo_id: str,
        files: Mapping[str, bytes | str] | None = None,
        kind: str = "model",
        private: bool = False,
        gated: bool = False,
        folder: Path | None = None,
    ) -> Repo:
        """A repository with the given files and those of a folder, in one commit."""
        repo = self.repos[kind, repo_id] = Repo(repo_id, kind, private, gated)
        self.commit(
            repo_id, {".gitattributes": "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, kind=kind, title="initial commit"
        )
        given: dict[str, bytes | str] = dict(files or {})
        if folder is not None:
            given |= {
                path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
            }
        if given:
            self.commit(repo_id, given, kind=kind)
        return repo

    def repo(self, repo_id: str, kind: str = "model") -> Repo:
        return self.repos[kind, repo_id]

    def commit(
        self, repo_id: str, files: Mapping[str, bytes | str | None], kind: str = "model", ref: str = "main", title: str = "Update"
    ) -> str:
        """Files added, changed, or deleted (None) on a ref, which is made from main where it is new -> commit."""
        repo = self.repos[kind, repo_id]
        blobs = {
            path: None if data is None else Blob.of(path, data.encode() if isinstance(data, str) else data)
            for path, data in files.items()
        }
        parent = None if ref in repo.refs else repo.refs.get("main")
        return repo.commit(blobs, title, "user", ref, parent).oid

    def files(self, repo_id: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """Path -> content, without the .gitattributes that every repository begins with."""
        files = self.repos[kind, repo_id].find(revision).files
        return {path: blob.data for path, blob in files.items() if path != ".gitattributes"}

    def head(self, repo_id: str, revision: str = "main", kind: str = "model") -> str:
        return self.repos[kind, repo_id].find(revision).oid

    def damage(self, repo_id: str, path: str, revision: str = "main", kind: str = "model") -> None:
        """The file is served with one byte changed, under its right hash, until `damaged` is cleared."""
        self.damaged.add(self.repos[kind, repo_id].find(revision).files[path].oid)

    # What goes wrong, and what went on

    def fail(
        self,
        method: str,
        pattern: str,
        status: int,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
        message: str = "Failed",
    ) -> None:
        """The next `times` requests of that method ("" any) whose path the pattern is found in are answered with `status`."""
        self.faults.append(Fault(method, pattern, times, status, 0, headers or {}, message))

    def drop(self, method: str, pattern: str, after: int = 0, times: int = 1) -> None:
        """Their connection is closed after so many bytes of a download or an upload; 0: before anything is answered."""
        self.faults.append(Fault(method, pattern, times, after=after))

    def stall(self, method: str, pattern: str, times: int = 1) -> None:
        """They are never answered; it is the client that gives up."""
        self.faults.append(Fault(method, pattern, times, silent=True))

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method in ("", method) and re.search(fault.pattern, path):
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                    return fault
        return None

    def paths(self, method: str = "") -> list[str]:
        """Paths that were asked for, by this method or by any."""
        return [one.path for one in self.log if method in ("", one.method)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no failure of the server; anything else is shown by pytest with the test's output."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


Answer = Callable[..., Any]
ROUTES: list[tuple[str, re.Pattern[str], Answer]] = []
_REPO = r"/api/(?P<kind>model|space)s/(?P<repo>[^/]+/[^/]+)"
_PAGE = r"/(?P<kind>spaces/)?(?P<repo>[^/]+/[^/]+)"


def route(method: str, pattern: str) -> Callable[[Answer], Answer]:
    def register(answer: Answer) -> Answer:
        ROUTES.append((method, re.compile(pattern + "$"), answer))
        return answer

    return register


class Handler(BaseHTTPRequestHandler):
    """One request. Paths are matched as they come, still quoted, so that a revision may contain slashes."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """`Hub.log` is the log."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        self.exchange = Exchange(self.command, unquote(parts.path), parts.query, dict(self.headers.items()))
        self.hub.log.append(self.exchange)
        self.fault = self.hub.take_fault(self.command, self.exchange.path)
        self.close_connection = True
        self.unread: Iterator[bytes] = self._body()
        try:
            self._answer(parts.path)
        except Dropped:
            self.connection.shutdown(socket.SHUT_RDWR)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _answer(self, path: str) -> None:
        fault = self.fault
        try:
            if fault and fault.status:
                raise Refusal(fault.status, fault.message, headers=fault.headers)
            if fault and fault.silent:
                self.connection.recv(1)
            if fault and not fault.after:
                raise Dropped
            self.account = self._account()
            for method, pattern, answer in ROUTES:
                if method == ("GET" if self.command == "HEAD" else self.command) and (match := pattern.match(path)):
                    with self.hub.lock:
                        answered = answer(self, **{name: unquote(value or "") for name, value in match.groupdict().items()})
                    if answered is not None:
                        self.send(200, answered)
                    return
            raise Refusal(404, f"No such route: {self.command} {path}")
        except Refusal as refusal:
            for _ in self.unread:
                pass
            more = dict(refusal.extra)
            headers = {"X-Error-Message": refusal.message, **more.pop("headers", {})}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            self.send(refusal.status, {"error": refusal.message, **more}, headers)
        except (Dropped, ConnectionError):
            raise
        except Exception as error:
            traceback.print_exc()
            self.send(500, {"error": f"The stand-in failed: {error!r}"})

    def _account(self) -> Account | None:
        """Whose token came along. A wrong one is refused even where none is needed."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if self.headers.get("Host", "").startswith("localhost"):
            if scheme:
                raise Refusal(400, "Only one auth mechanism allowed: the token must not be sent here")
            return None
        if not scheme:
            return None
        if token not in self.hub.accounts:
            raise Refusal(401, "Invalid credentials in Authorization header")
        account = self.hub.accounts[token]
        self.exchange.user = account.name
        return account

    # Bodies

    def _body(self) -> Iterator[bytes]:
        """The request's body, piece by piece. A fault may end it early."""
        left = self.fault.after if self.fault and not self.fault.status and self.command in ("POST", "PUT") else None
        for piece in self._pieces():
            self.exchange.received += len(piece)
            if left is not None and self.exchange.received >= left:
                raise Dropped
            yield piece

    def _pieces(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.rfile.read(min(CHUNK, left))
            if not piece:
                raise Dropped
            left -= len(piece)
            yield piece

    def read(self) -> bytes:
        return b"".join(self.unread)

    def read_json(self) -> dict[str, Any]:
        return json.loads(self.read() or b"{}")

    def send(self, status: int, body: object = b"", headers: Mapping[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.exchange.status = status
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        drop = self.fault.after if self.fault and not self.fault.status and self.command == "GET" else None
        self._write(self.wfile, data[:drop])
        if drop is not None and drop < len(data):
            raise Dropped

    def _write(self, file: BinaryIO, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            self.exchange.sent += file.write(data[start : start + CHUNK])
        file.flush()

    # Who may do what

    def repo(self, kind: str, repo: str) -> Repo:
        """A repository that this account may know of."""
        found = self.hub.repos.get((kind, repo))
        if found is None or (found.private and not (self.account and self.account.owns(found))):
            raise Refusal(404 if self.account else 401, "Repository not found", "RepoNotFound")
        return found

    def check_let_in(self, repo: Repo) -> None:
        account = self.account
        if repo.gated and not (account and (account.owns(repo) or account.name in repo.let_in)):
            message = f"Access to model {repo.id} is restricted" + ("" if account else ". You must be authenticated to access it")
            raise Refusal(403 if account else 401, message, "GatedRepo")

    def writable(self, kind: str, repo: str, pull_request: bool = False) -> Repo:
        found = self.repo(kind, repo)
        if self.account is None:
            raise Refusal(401, "Invalid username or password.")
        if not pull_request and not (self.account.owns(found) and self.account.may_write):
            raise Refusal(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return found

    # Accounts, cards

    @route("GET", "/api/whoami-v2")
    def whoami(self) -> Any:
        account = self.account
        if account is None:
            raise Refusal(401, "Invalid username or password.")
        role = "write" if account.may_write else "read"
        return {
            "type": "user",
            "name": account.name,
            "fullname": account.name,
            "isPro": False,
            "orgs": [{"type": "org", "name": name, "roleInOrg": "write"} for name in account.organisations],
            "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": role}},
        }

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self) -> Any:
        asked = self.read_json()
        errors, warnings = card_errors(asked["content"], asked["repoType"])
        answer = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
        self.send(400 if errors else 200, answer)

    # Repositories

    @route("POST", "/api/repos/create")
    def create(self) -> Any:
        asked = self.read_json()
        if self.account is None:
            raise Refusal(401, "Invalid username or password.")
        kind = asked.get("type") or "model"
        repo_id = f"{asked.get('organization') or self.account.name}/{asked['name']}"
        repo = Repo(repo_id, kind, private=asked.get("visibility") == "private" or asked.get("private") is True)
        url = f"{self.hub.url}/{repo.path}"
        if (kind, repo_id) in self.hub.repos:
            raise Refusal(409, f"You already created this {kind} repo", url=url)
        if not (self.account.owns(repo) and self.account.may_write):
            raise Refusal(403, f"You don't have the rights to create a {kind} under the namespace {repo.owner!r}")
        files = {".gitattributes": "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}
        if kind == "space":
            if asked.get("sdk") not in ("gradio", "streamlit", "docker", "static"):
                raise Refusal(400, '"sdk" must be one of [gradio, streamlit, docker, static]')
            repo.sdk, repo.hardware, repo.sleep_time = (
                asked["sdk"],
                asked.get("hardware", "cpu-basic"),
                asked.get("sleepTimeSeconds"),
            )
            for name in ("variables", "secrets"):
                getattr(repo, name).update({one["key"]: one for one in asked.get(name) or []})
            files["README.md"] = f"---\ntitle: {asked['name']}\nemoji: 🐨\ncolorFrom: red\ncolorTo: blue\nsdk: {repo.sdk}\n---\n"
        self.hub.repos[kind, repo_id] = repo
        self.hub.commit(repo_id, files, kind=kind, title="initial commit")
        return {"url": url, "name": repo_id}

    @route("DELETE", "/api/repos/delete")
    def delete(self) -> Any:
        asked = self.read_json()
        kind = asked.get("type") or "model"
        repo = self.writable(kind, f"{asked.get('organization') or (self.account.name if self.account else '')}/{asked['name']}")
        del self.hub.repos[kind, repo.id]
        return {}

    @route("PUT", _REPO + "/settings")
    def settings(self, kind: str, repo: str) -> Any:
        found, asked = self.writable(kind, repo), self.read_json()
        found.private = asked.get("visibility", "private" if found.private else "public") == "private"
        found.gated = bool(asked.get("gated", found.gated))
        return {}

    @route("GET", _REPO + "(/revision/(?P<revision>[^/]+))?")
    def info(self, kind: str, repo: str, revision: str) -> Any:
        found = self.repo(kind, repo)
        commit = found.find(revision or "main")
        card = commit.files.get("README.md")
        matter = front_matter(card.data.decode(errors="replace")) if card else None
        siblings = [
            {"rfilename": path, **(entry(path, blob, "blobId") if "blobs" in self.query else {})}
            for path, blob in sorted(commit.files.items())
        ]
        answer = {
            "_id": "0" * 24,
            "id": found.id,
            "modelId": found.id,
            "author": found.owner,
            "sha": commit.oid,
            "private": found.private,
            "gated": "auto" if found.gated else False,
            "disabled": False,
            "lastModified": DATE,
            "createdAt": DATE,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
        }
        if matter and not card_errors(card.data.decode(errors="replace"), "model")[0]:
            answer["cardData"] = yaml.safe_load(matter)
        if kind == "space":
            answer |= {"sdk": found.sdk, "runtime": runtime(found), "subdomain": found.id.replace("/", "-")}
        return answer

    @route("GET", _REPO + "/refs")
    def refs(self, kind: str, repo: str) -> Any:
        found = self.repo(kind, repo)
        groups: dict[str, list[dict[str, str]]] = {"branches": [], "tags": [], "converts": [], "pullRequests": []}
        for name, commit in found.refs.items():
            if name.startswith("refs/pr/"):
                groups["pullRequests"].append({"name": name.removeprefix("refs/"), "ref": name, "targetCommit": commit.oid})
            else:
                group, place = ("tags", "tags") if name in found.tags else ("branches", "heads")
                groups[group].append({"name": name, "ref": f"refs/{place}/{name}", "targetCommit": commit.oid})
        return groups

    @route("GET", _REPO + "/commits/(?P<revision>[^/]+)")
    def commits(self, kind: str, repo: str, revision: str) -> Any:
        commit: Commit | None = self.repo(kind, repo).find(revision)
        found = []
        while commit is not None:
            found.append({"id": commit.oid, "title": commit.title, "message": "", "date": DATE, "authors": [{"user": commit.user}]})
            commit = commit.parent
        return found

    @route("POST", _REPO + "/branch/(?P<name>[^/]+)")
    def make_branch(self, kind: str, repo: str, name: str) -> Any:
        found, start = self.writable(kind, repo), self.read_json().get("startingPoint") or "main"
        if name.startswith("refs/"):
            raise Refusal(400, f"Invalid reference for a branch: {name}")
        if name in found.refs:
            raise Refusal(409, f"Reference already exists: refs/heads/{name}")
        found.refs[name] = found.find(start)
        return {}

    @route("DELETE", _REPO + "/(branch|tag)/(?P<name>[^/]+)")
    def delete_ref(self, kind: str, repo: str, name: str) -> Any:
        found = self.writable(kind, repo)
        if found.refs.pop(name, None) is None:
            raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
        found.tags.discard(name)
        return {}

    @route("POST", _REPO + "/tag/(?P<revision>[^/]+)")
    def make_tag(self, kind: str, repo: str, revision: str) -> Any:
        found, name = self.writable(kind, repo), self.read_json()["tag"]
        if name in found.refs:
            raise Refusal(409, f"Tag reference exists already: {name}")
        found.refs[name] = found.find(revision)
        found.tags.add(name)
        return {}

    # Files

    @route("GET", _REPO + "/tree/(?P<revision>[^/]+)(/(?P<path>.*))?")
    def tree(self, kind: str, repo: str, revision: str, path: str) -> Any:
        commit = self.repo(kind, repo).find(revision)
        inside = {name: blob for name, blob in commit.files.items() if not path or name.startswith(path + "/")}
        if path and not inside:
            raise Refusal(404, f"{path} does not exist on {revision}", "EntryNotFound")
        deep = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        files, folders = {}, set()
        for name, blob in inside.items():
            parts = name.removeprefix(path + "/" if path else "").split("/")
            prefixes = ["/".join(parts[:end]) for end in range(1, len(parts))]
            folders.update(prefixes if deep else prefixes[:1])
            if deep or len(parts) == 1:
                files[name] = blob
        base = path + "/" if path else ""
        return [
            {"type": "directory", "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0, "path": base + name}
            for name in sorted(folders)
        ] + [{"type": "file", "path": name, **entry(name, blob)} for name, blob in sorted(files.items())]

    @route("POST", _REPO + "/paths-info/(?P<revision>[^/]+)")
    def paths_info(self, kind: str, repo: str, revision: str) -> Any:
        commit = self.repo(kind, repo).find(revision)
        body = self.read().decode()
        asked = json.loads(body)["paths"] if "json" in self.headers.get("Content-Type", "") else parse_qs(body).get("paths", [])
        found = [{"type": "file", "path": path, **entry(path, commit.files[path])} for path in asked if path in commit.files]
        for path in asked:
            if path not in commit.files and any(name.startswith(path.rstrip("/") + "/") for name in commit.files):
                found.append({"type": "directory", "path": path.rstrip("/"), "oid": hashlib.sha1(path.encode()).hexdigest()})
        return found

    @route("GET", _PAGE + "/(resolve|raw)/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, kind: str, repo: str, revision: str, path: str) -> Any:
        found = self.repo("space" if kind else "model", repo)
        self.check_let_in(found)
        commit = found.find(revision)
        commit_header = {"X-Repo-Commit": commit.oid}
        if path not in commit.files:
            raise Refusal(404, "Entry not found", "EntryNotFound", headers=commit_header)
        blob = commit.files[path]
        if not blob.large:
            return self.send_file(blob, commit_header)
        headers = {
            **commit_header,
            "Location": f"{self.hub.storage_url}/storage/{blob.sha256}/{quote(found.path)}/{quote(path)}",
            "X-Linked-Size": str(len(blob.data)),
            "X-Linked-Etag": f'"{blob.sha256}"',
        }
        self.hub.objects.setdefault(blob.sha256, blob.data)
        self.send(302, b"", headers)

    @route("GET", "/storage/(?P<sha256>[0-9a-f]{64})/(?P<name>.+)")
    def storage(self, sha256: str, name: str) -> Any:
        """A large file. The name is only for the log."""
        if sha256 not in self.hub.objects:
            raise Refusal(404, "Not found")
        return self.send_file(Blob(self.hub.objects[sha256], True), {})

    def send_file(self, blob: Blob, headers: Mapping[str, str]) -> None:
        data = blob.data
        if blob.oid in self.hub.damaged:
            data = bytes([data[0] ^ 1]) + data[1:] if len(data) < 2 else data[:-1] + bytes([data[-1] ^ 1])
        headers = {**headers, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), min(int(match[2] or len(data) - 1), len(data) - 1)
            if first > last:
                return self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return self.send(206, data[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"})
        return self.send(200, data, headers)

    # Uploads

    @route("POST", _REPO + "/preupload/(?P<revision>[^/]+)")
    def preupload(self, kind: str, repo: str, revision: str) -> Any:
        found = self.writable(kind, repo, "create_pr" in self.query)
        files = found.find(revision).files
        answer = []
        for one in self.read_json()["files"]:
            blob = files.get(one["path"])
            large = is_large(one["path"], one["size"])
            answer.append({"path": one["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False})
            if blob is not None and blob.large == large:
                answer[-1]["oid"] = blob.etag
        return {"files": answer}

    @route("POST", _PAGE + r"\.git/info/lfs/objects/batch")
    def batch(self, kind: str, repo: str) -> Any:
        asked = self.read_json()
        self.writable("space" if kind else "model", repo, pull_request="ref" not in asked)
        objects = []
        for one in asked["objects"]:
            objects.append({"oid": one["oid"], "size": one["size"]})
            if one["oid"] not in self.hub.objects:
                link = f"{self.hub.storage_url}/upload/{one['oid']}"
                verify = f"{self.hub.url}/{quote(kind + repo)}.git/info/lfs/objects/verify"
                objects[-1]["actions"] = {"upload": {"href": link}, "verify": {"href": verify}}
        return {"transfer": "basic", "objects": objects}

    @route("PUT", "/upload/(?P<sha256>[0-9a-f]{64})")
    def upload(self, sha256: str) -> Any:
        data = self.read()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Refusal(400, "BadDigest: the sha256 of the body is not the one in the address")
        self.hub.objects[sha256] = data
        self.send(200, b"", {"ETag": f'"{sha256}"'})

    @route("POST", _PAGE + r"\.git/info/lfs/objects/verify")
    def verify(self, kind: str, repo: str) -> Any:
        asked = self.read_json()
        if len(self.hub.objects.get(asked["oid"], b"")) != asked["size"]:
            raise Refusal(404, f"Object {asked['oid']} was not uploaded")
        return {}

    @route("POST", _REPO + "/commit/(?P<revision>[^/]+)")
    def make_commit(self, kind: str, repo: str, revision: str) -> Any:
        pull_request = "create_pr" in self.query
        found = self.writable(kind, repo, pull_request)
        lines = [json.loads(line) for line in self.read().splitlines() if line.strip()]
        header = lines[0]["value"]
        head = found.find(revision)
        asked_parent = header.get("parentCommit")
        if asked_parent and not pull_request and not head.oid.startswith(asked_parent):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        if revision not in found.refs or revision in found.tags:
            raise Refusal(400, f"Can't commit to {revision}: it is not a branch")
        changes: dict[str, Blob | None] = {}
        for line in lines[1:]:
            changes |= self._change(line["key"], line["value"], head, kind)
        ref = found.open_pull_request() if pull_request else revision
        parent = found.find(asked_parent) if pull_request and asked_parent else head
        commit = found.commit(changes, header["summary"], self.account.name, ref, parent)
        answer = {"success": True, "commitOid": commit.oid, "commitUrl": f"{self.hub.url}/{found.path}/commit/{commit.oid}"}
        if pull_request:
            answer["pullRequestUrl"] = f"{self.hub.url}/{found.path}/discussions/{ref.rpartition('/')[2]}"
        return answer

    def _change(self, key: str, value: dict[str, Any], head: Commit, kind: str) -> dict[str, Blob | None]:
        path = value["path"]
        if key == "file":
            data = base64.b64decode(value["content"])
            if is_large(path, len(data)):
                raise Refusal(400, f"Your push was rejected because it contains binary files: {path}. Please use LFS.")
            if path == "README.md" and (errors := card_errors(data.decode(errors="replace"), kind)[0]):
                raise Refusal(400, f"Invalid metadata in README.md: {errors[0]}")
            return {path: Blob(data, False)}
        if key == "lfsFile":
            if value["oid"] not in self.hub.objects:
                raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {path}")
            return {path: Blob(self.hub.objects[value["oid"]], True)}
        if key == "deletedFile":
            return {path: None}
        if key == "deletedFolder":
            return dict.fromkeys(name for name in head.files if name.startswith(path.rstrip("/") + "/"))
        raise Refusal(400, f"Unknown operation {key}")

    # Spaces

    def space(self, repo: str) -> Repo:
        return self.writable("space", repo)

    @route("GET", "/api/spaces/(?P<repo>[^/]+/[^/]+)/runtime")
    def runtime(self, repo: str) -> Any:
        return runtime(self.repo("space", repo))

    @route("POST", "/api/spaces/(?P<repo>[^/]+/[^/]+)/(?P<action>hardware|sleeptime|pause|restart)")
    def act(self, repo: str, action: str) -> Any:
        space, asked = self.space(repo), self.read_json() if action in ("hardware", "sleeptime") else {}
        space.hardware = asked.get("flavor", space.hardware)
        space.sleep_time = asked.get("sleepTimeSeconds", asked.get("seconds", space.sleep_time))
        return runtime(space)

    @route("GET", "/api/spaces/(?P<repo>[^/]+/[^/]+)/(?P<name>variables|secrets)")
    def settings_of_space(self, repo: str, name: str) -> Any:
        kept = getattr(self.space(repo), name)
        hidden = {"value"} if name == "secrets" else set()
        return {key: {field: text for field, text in one.items() if field not in hidden} for key, one in kept.items()}

    @route("POST", "/api/spaces/(?P<repo>[^/]+/[^/]+)/(?P<name>variables|secrets)")
    def set_on_space(self, repo: str, name: str) -> Any:
        asked = self.read_json()
        getattr(self.space(repo), name)[asked["key"]] = asked
        return self.settings_of_space(repo, name)

    @route("DELETE", "/api/spaces/(?P<repo>[^/]+/[^/]+)/(?P<name>variables|secrets)")
    def unset_on_space(self, repo: str, name: str) -> Any:
        getattr(self.space(repo), name).pop(self.read_json()["key"], None)
        return self.settings_of_space(repo, name)


def entry(path: str, blob: Blob, oid: str = "oid") -> dict[str, Any]:
    """A file as listings show it; its git hash is called `oid` in some and `blobId` in others."""
    found: dict[str, Any] = {oid: blob.oid, "size": len(blob.data)}
    if blob.large:
        found["lfs"] = {"oid": blob.sha256, "sha256": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    return found


def runtime(space: Repo) -> dict[str, Any]:
    return {
        "stage": "RUNNING" if "app.py" in space.refs["main"].files else "NO_APP_FILE",
        "hardware": {"current": "cpu-basic", "requested": space.hardware},
        "gcTimeout": space.sleep_time,
        "storage": None,
    }


# The client's side


def environment(hub: Hub) -> dict[str, str]:
    """Environment with which huggingface_hub uses this Hub, an empty cache, and plain HTTP."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HOME": str(hub.cache),
        "HF_HUB_CACHE": str(hub.cache / "hub"),
        "HF_TOKEN_PATH": str(hub.cache / "token"),
        "NO_PROXY": "127.0.0.1,localhost",
    }


def constants_for(hub: Hub) -> dict[str, Any]:
    """The same, as huggingface_hub keeps it in `huggingface_hub.constants` from its import on."""
    return {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HUGGINGFACE_CO_RESOLVE_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HOME": str(hub.cache),
        "HF_HUB_CACHE": str(hub.cache / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(hub.cache / "hub"),
        "HF_TOKEN_PATH": str(hub.cache / "token"),
        "HF_STORED_TOKENS_PATH": str(hub.cache / "stored_tokens"),
        "AGENT_HARNESSES_PATH": str(hub.cache / ".agent_harnesses.json"),
    }


@contextmanager
def hub_for_client(folder: Path) -> Iterator[Hub]:
    """A Hub with nothing in it; this process's huggingface_hub, and those of others' that took values from it by name, use it."""
    from huggingface_hub import close_session, hf_api

    for name in ("_cache_assets", "_cache_manager", "_git_credential"):  # else a test's values would stay in them
        importlib.import_module(f"huggingface_hub.utils.{name}")
    hub = Hub(folder)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment(hub).items():
                patch.setenv(name, value)
            patch.setenv("HF_TOKEN", hub.token)
            patch.setattr(hf_api.api, "endpoint", hub.url)
            for module in list(sys.modules.values()):
                if getattr(module, "__name__", "").partition(".")[0] in ("huggingface_hub", "diffusers", "transformers"):
                    for name, value in constants_for(hub).items():
                        if isinstance(vars(module).get(name), str | bool):
                            patch.setitem(vars(module), name, value)
            yield hub
    finally:
        close_session()
        hub.stop()
