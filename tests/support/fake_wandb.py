"""A fake W&B server on 127.0.0.1 to which a client can upload a run; tests read what it received."""

from __future__ import annotations

import gzip
import json
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml


@dataclass
class Uploaded:
    """A run on the server.

    Attributes:
        history: rows, by their number.
        events: system metrics, by their number.
        config: configuration, without W&B's own keys.
        description: project, display name, group, tags, notes.
        files: contents by path.
        summary: last values.
        exit_code: None while the run has not ended.
    """

    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    events: dict[int, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


class FakeWandb:
    """A server in a thread of this process; `with FakeWandb() as server:`.

    Attributes:
        url: for WANDB_BASE_URL.
        runs: by id.
        operations: names of all received GraphQL operations.
        sweeps: configurations of sweeps, by id.
        orders: settings of the runs that an agent has to start before it ends.
        views: saved workspaces.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Uploaded] = {}
        self.operations: list[str] = []
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.orders: list[dict[str, Any]] = []
        self._ordered = 0
        self.views: list[dict[str, Any]] = []
        owner = self

        class Handler(_Handler):
            server_of = owner

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.alive = False

    def __enter__(self) -> FakeWandb:
        self.alive = True
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Stop answering and close the port."""
        if self.alive:
            self.alive = False
            self._http.shutdown()
            self._http.server_close()

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """Return the data of a GraphQL operation, None for an unknown one."""
        self.operations.append(operation)
        model = {"id": "project", "name": "lit_inpaint", "entity": {"id": "entity", "name": "tester"}}
        if operation in ("Viewer", "GetDefaultEntity"):
            teams = {"edges": [{"node": {"name": "tester"}}]}
            return {"viewer": {"id": "1", "entity": "tester", "username": "tester", "email": "", "flags": "{}", "teams": teams}}
        if operation == "RunResumeStatus":
            run = self.runs.get(variables["name"])
            return {"model": {**model, "bucket": None if run is None else self._status(variables["name"], run)}}
        if operation == "UpsertBucket":
            return {"upsertBucket": {"bucket": self._upsert(variables, model), "inserted": True}}
        if operation == "CreateRunFiles":
            names = [{"name": name, "uploadUrl": f"{self.url}/put/{variables['run']}/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": names}}
        if operation == "UpsertSweep":
            name = f"sweep{len(self.sweeps)}"
            self.sweeps[name] = yaml.safe_load(variables["config"])
            return {"upsertSweep": {"sweep": {"name": name, "project": model}, "configValidationWarnings": []}}
        if operation == "SweepWithRuns":
            config = yaml.safe_dump(self.sweeps[variables["sweep"]])
            sweep = {"id": "1", "name": variables["sweep"], "config": config, "method": "", "state": "", "runs": {"edges": []}}
            return {"project": {"sweep": sweep}}
        if operation == "CreateAgent":
            return {"createAgent": {"agent": {"id": "agent"}}}
        if operation == "Heartbeat":
            return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(self._next_order())}}
        if operation == "UpsertView2":
            self.views.append({**variables, "spec": json.loads(variables["spec"])})
            return {"upsertView": {"view": {"id": "view", "name": variables["name"]}, "inserted": True}}
        return None

    def _next_order(self) -> list[dict[str, Any]]:
        if not self.orders:
            done = [run for run in self.runs.values() if run.exit_code is not None]
            return [{"type": "exit"}] if len(done) == self._ordered else []
        arguments = {name: {"value": value} for name, value in self.orders.pop(0).items()}
        self._ordered += 1
        (sweep,) = self.sweeps.values()
        return [{"type": "run", "run_id": f"ordered{self._ordered - 1}", "program": sweep["program"], "args": arguments}]

    def _status(self, name: str, run: Uploaded) -> dict[str, Any]:
        tail = [json.dumps(run.history[max(run.history)])] if run.history else []
        return {
            "id": name,
            "name": name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.description.get("displayName"),
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": len(run.events),
            "historyTail": json.dumps(tail),
            "eventsTail": "[]",
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "tags": run.description.get("tags") or [],
            "notes": run.description.get("notes"),
            "wandbConfig": json.dumps({"t": {}}),
        }

    def _upsert(self, variables: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(variables["name"], Uploaded())
        run.description |= {key: value for key, value in variables.items() if value is not None}
        if variables.get("config"):
            run.config |= {key: item["value"] for key, item in json.loads(variables["config"]).items() if key != "_wandb"}
        bucket = {key: variables.get(key) for key in ("name", "displayName", "config", "tags", "notes")}
        return {"id": variables["name"], **bucket, "project": model, "sweepName": None, "historyLineCount": 0}

    def receive(self, run_id: str, sent: dict[str, Any]) -> None:
        """Store a part of a run's file stream."""
        run = self.runs.setdefault(run_id, Uploaded())
        for name, chunk in sent.get("files", {}).items():
            lines = dict(enumerate(map(json.loads, chunk["content"]) if name.endswith("jsonl") else (), chunk["offset"]))
            if name == "wandb-history.jsonl":
                run.history |= lines
            elif name == "wandb-events.jsonl":
                run.events |= lines
            elif name == "wandb-summary.json":
                run.summary |= json.loads(chunk["content"][-1])
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")


class _Handler(BaseHTTPRequestHandler):
    server_of: FakeWandb
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client closed the connection
            super().handle()

    def do_POST(self) -> None:
        body = self._body()
        place = self.path.strip("/").split("/")
        if place == ["graphql"]:
            request = json.loads(body)
            name = request.get("operationName") or re.findall(r"(?:query|mutation)\s+(\w+)", request["query"])[0]
            data = self.server_of.answer(name, request.get("variables") or {})
            self._reply({"data": data} if data is not None else {"data": None, "errors": [{"message": f"no {name} here"}]})
        elif place[-1] == "file_stream":
            self.server_of.receive(place[-2], json.loads(body))
            self._reply({})
        else:
            self._reply({})

    def do_PUT(self) -> None:
        _, run_id, name = self.path.strip("/").split("/", 2)
        self.server_of.runs.setdefault(run_id, Uploaded()).files[name] = self._body()
        self._reply({})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _reply(self, content: dict[str, Any]) -> None:
        if not self.server_of.alive:  # a connection opened before `kill`
            self.close_connection = True
            return
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
