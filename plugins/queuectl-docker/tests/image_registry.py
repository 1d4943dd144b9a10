"""A registry of images with one image in it, on loopback: engines trust such ones without encryption."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Registry:
    """Serves one image of one layer under ``name``, and counts how often it was asked for."""

    def __init__(self, layer: bytes) -> None:
        packed = gzip.compress(layer, mtime=0)
        made = {"architecture": "amd64", "os": "linux", "config": {}, "history": [{"created_by": "a test"}]}
        config = json.dumps(made | {"rootfs": {"type": "layers", "diff_ids": [_digest(layer)]}}).encode()
        self._blobs = {_digest(blob): blob for blob in (packed, config)}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": _described(CONFIG, config)}
        self._manifest = json.dumps(manifest | {"layers": [_described(LAYER, packed)]}).encode()
        self.digest = _digest(self._manifest)
        self.asked = 0
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, data = registry._answer(self.path)
                self.send_response(200 if kind else 404)
                self.send_header("Content-Type", kind or "text/plain")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Docker-Content-Digest", _digest(data))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.name = f"127.0.0.1:{self._server.server_port}/host"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, path: str) -> tuple[str, bytes]:
        _, _, rest = path.partition("/v2/")
        if not rest:
            return "application/json", b"{}"
        _, kind, name = rest.split("/", 2)
        if kind == "manifests" and name in ("latest", self.digest):
            self.asked += 1
            return MANIFEST, self._manifest
        blob = self._blobs.get(name, b"")
        return ("application/octet-stream" if blob else ""), blob


def _described(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "size": len(blob), "digest": _digest(blob)}


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
