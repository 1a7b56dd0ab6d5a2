"""An object store on the loopback interface, for benchmarks: SeaweedFS, which tests/setup installs."""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time

from harness import CHECKOUT, Failed, Refused

WEED = CHECKOUT / "target/peers/bin/weed"
BUCKET, KEY, SECRET = "test", "benchkey", "benchsecret"
READY_S = 30
# Ports that the kernel gives to no client: after thousands of connections few others are free in a row.
BELOW_CLIENTS = (10_000, 32_000)
# The first option has the port of S3, the sixth that of the filer, where the bucket is made.
PORTS = ("s3.port", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
         "filer.port.grpc", "s3.port.grpc")


def need_server():
    """Refuses when the server is not installed."""
    if not WEED.is_file():
        raise Refused(f"no SeaweedFS in '{WEED.parent}': tests/setup installs it")


def free_ports(count):
    """Returns the first of so many free ports in a row."""
    for _ in range(100):
        sockets = []
        try:
            first = random.randrange(*BELOW_CLIENTS)
            for port in range(first, first + count):
                sockets.append(socket.create_server(("127.0.0.1", port)))
            return first
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise Failed("no free ports for SeaweedFS")


class Server:
    """A server with an empty bucket; it ends, and what it stored is removed, at the end of the `with`."""

    def __init__(self, lab):
        self.directory = lab.fresh("seaweed")
        for name in ("data", "filer"):
            (self.directory / name).mkdir()
        identities = [{"name": "bench", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]},
                      {"name": "anonymous", "actions": ["Admin"]}]  # curl signs nothing
        (self.directory / "s3.json").write_text(json.dumps({"identities": identities}))
        (self.directory / "filer.toml").write_text(f'[leveldb2]\nenabled = true\ndir = "{self.directory}/filer"\n')
        self.port = free_ports(len(PORTS))
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        here = self.directory
        command = [
            "setpriv", "--pdeathsig", "KILL", WEED, "-logtostderr=true", "server", f"-dir={here}/data", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", "-master.telemetry=false", "-master.volumeSizeLimitMB=1024", "-master.electionTimeout=1s",
            "-volume.max=0", "-volume.preStopSeconds=1", "-filer", f"-filer.localSocket={here}/filer.sock", "-s3",
            f"-s3.config={here}/s3.json", f"-s3.localSocket={here}/s3.sock", "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0",
            *(f"-{option}={self.port + at}" for at, option in enumerate(PORTS)),
        ]
        with (here / "log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=here, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={"PATH": os.defpath, "HOME": str(here), "GOMEMLIMIT": "1GiB"})
        try:
            self.await_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.directory)

    def await_ready(self):
        """Makes the bucket, and waits until an object can be written."""
        end = time.monotonic() + READY_S
        bucket = (self.port + PORTS.index("filer.port"), f"/buckets/{BUCKET}/", "POST")
        for port, path, method in (bucket, (self.port, f"/{BUCKET}/ready", "PUT")):
            while not answers(port, path, method):
                if self.process.poll() is not None or time.monotonic() > end:
                    log = (self.directory / "log").read_text(errors="replace").splitlines()[-5:]
                    raise Failed("\n".join(["SeaweedFS does not get ready:", *log]))
                time.sleep(0.05)

    def variables(self):
        """Returns the variables by which each of the clients finds the server, NAME=VALUE."""
        return [
            f"AWS_ENDPOINT_URL={self.address}", f"AWS_ACCESS_KEY_ID={KEY}", f"AWS_SECRET_ACCESS_KEY={SECRET}",
            "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
            f"S3_ENDPOINT_URL={self.address}",
            "RCLONE_CONFIG=/dev/null", "RCLONE_CONFIG_STORE_TYPE=s3", "RCLONE_CONFIG_STORE_PROVIDER=SeaweedFS",
            "RCLONE_CONFIG_STORE_ENV_AUTH=true", f"RCLONE_CONFIG_STORE_ENDPOINT={self.address}",
        ]


def answers(port, path, method):
    """Says whether a request succeeds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={"Content-Length": "0"})
        return connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
