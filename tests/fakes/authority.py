"""A certificate authority of the tests: the product's own script, and certificates that are wrong on purpose."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conftest import ROOT

SCRIPT = ROOT / "configs" / "mosquitto" / "certificates"


class Authority:
    """A folder with a CA, a server's certificate for 127.0.0.1 and localhost, and devices' certificates."""

    def __init__(self, folder: Path, *, names: tuple[str, ...] = ("localhost", "127.0.0.1")) -> None:
        self.folder = folder
        self.run("init")
        self.run("server", *names)

    def run(self, *arguments: str, **env: str) -> str:
        done = subprocess.run(
            [str(SCRIPT), *arguments],
            env={"PATH": os.environ["PATH"], "LOOKOUT_CA": str(self.folder), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def server(self) -> tuple[Path, Path]:
        return self.folder / "server.pem", self.folder / "server.key"

    def device(self, name: str, **env: str) -> tuple[Path, Path]:
        """A device's certificate and key."""
        certificate = self.folder / "devices" / f"{name}.pem"
        if not certificate.exists() or env:
            self.run("device", name, **env)
        return certificate, certificate.with_suffix(".key")

    def expired_server(self) -> tuple[Path, Path]:
        """A certificate of the same authority and name whose time is over."""
        certificate, key = self.folder / "expired.pem", self.folder / "expired.key"
        extensions, request = self.folder / "expired.ext", self.folder / "expired.csr"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        config = ("-config", str(self.folder / "openssl.cnf"))
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(key))
        _openssl("req", "-new", "-key", str(key), "-subj", "/CN=localhost", *config, "-out", str(request))
        dates = ("-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
        rest = ("-extfile", str(extensions), "-in", str(request), "-out", str(certificate))
        _openssl("ca", "-batch", "-notext", *config, *dates, *rest)
        return certificate, key


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
