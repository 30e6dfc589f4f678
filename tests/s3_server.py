"""A real S3 server on loopback: SeaweedFS, one process with its data in a folder. It keeps what it was given when it is
killed and started again, and honours If-None-Match, which is what the leases and manifests of a store rest on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.helpers import free_port, wait_for

WEED = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
KEY, SECRET = "key", "secret"
BUCKET = "bucket"


class S3Server:
    """Credentials and address are in `environment`, as AWS's own clients read them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "data").mkdir(parents=True)
        who = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [who]}))
        self.ports = {name: free_port() for name in ("s3", "master", "volume", "filer")}
        self.ports |= {f"{name}.grpc": free_port() for name in list(self.ports)}
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['s3']}", "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        self.start()
        self.make_bucket()

    def start(self) -> None:
        options = {f"{name.replace('.grpc', '.port.grpc')}" if "grpc" in name else f"{name}.port": port
                   for name, port in self.ports.items()}  # fmt: skip
        options |= {"dir": self.folder / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "s3.iam": "false",
                    "s3.config": self.folder / "s3.json", "s3.port.iceberg": 0, "s3.port.lance": 0,
                    "master.volumeSizeLimitMB": 64, "volume.max": 8, "master.telemetry": "false"}  # fmt: skip
        words = [str(WEED), "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                words, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        wait_for(self._answers, "S3 server", 60)

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            urllib.request.urlopen(f"{self.environment['AWS_ENDPOINT_URL']}/healthz", timeout=2).close()  # noqa: S310
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def make_bucket(self) -> None:
        """It takes one only once its parts have found each other."""
        wait_for(self._made_bucket, "bucket", 60)

    def _made_bucket(self) -> bool:
        try:
            self.system().mkdir(BUCKET)
        except FileExistsError:
            return True
        except OSError:
            return False
        return True

    def system(self):
        """The server as a file system of fsspec's."""
        import fsspec

        return fsspec.filesystem(
            "s3", key=KEY, secret=SECRET, endpoint_url=self.environment["AWS_ENDPOINT_URL"], use_listings_cache=False
        )

    def stop(self) -> None:
        """SIGKILL, as if the machine had gone."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
