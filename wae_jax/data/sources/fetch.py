"""Cached downloads that are checked by sha256 and appear whole or not at all.

Everything lands in one cache folder: `cache_dir` when given, else the environment variable
`WAE_JAX_CACHE`, else `.cache/wae_jax` under the current directory. A file with its final name in
that folder has had its hash checked: downloads go to a temporary name first and are renamed.
"""

import contextlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from wae_jax.errors import UserError
from wae_jax.runtime.cache import cache_root
from wae_jax.runtime.console import progress_bar
from wae_jax.runtime.files import PARTIAL, exclusive, sha256_of

_CHUNK_BYTES = 1 << 20
_PACKAGE_TIMEOUT_S = 600


def fetch_url(url: str, sha256: str, dest: Path, timeout: float = 10.0) -> Path:
    """Downloads `url` to `dest` unless a file with the right hash is there already.

    Args:
        url: what to download.
        sha256: expected hash, hexadecimal.
        dest: final path of the file; its folder is created.
        timeout: seconds without any answer from the server after which we give up.

    Raises:
        UserError: the server cannot be reached, or what it sends has another hash.
    """

    def to_folder(folder: Path) -> Path:
        return download(url, folder / "partial", timeout, name=dest.name)

    return _fetch(url, sha256, dest, to_folder)


def download(url: str, dest: Path, timeout: float = 10.0, *, name: str = "") -> Path:
    """Downloads `url` to `dest` and checks nothing: for what has no fixed bytes.

    Args:
        url: what to download.
        dest: path of the file, in a folder that whoever calls throws away.
        timeout: seconds without any answer from the server after which we give up.
        name: what the progress bar calls it; default: the file's name.

    Raises:
        UserError: the server cannot be reached.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout) as reply, open(dest, "wb") as file:
            _copy_with_progress(reply, file, name or dest.name)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(f"cannot download {url} ({_reason(error)})") from error
    return dest


def fetch_npm(
    package: str, version: str, sha256: str, *, cache_dir: str | os.PathLike = ""
) -> Path:
    """Fetches the tar file of one npm package version, without its dependencies.

    Returns:
        Path of the `.tgz`; its contents are under `package/`.

    Raises:
        UserError: npm is not installed, the registry cannot be reached, or the hash is wrong.
    """
    spec = f"{package}@{version}"

    def download(folder: Path) -> Path:
        npm = shutil.which("npm")
        if npm is None:
            raise UserError(
                f"the program npm, which fetches {spec}, is not installed; install Node.js"
            )
        command = [
            npm,
            "pack",
            spec,
            "--pack-destination",
            str(folder),
            "--ignore-scripts",
            "--fetch-retries=1",
            "--fetch-retry-mintimeout=1000",
            "--fetch-timeout=60000",
            "--loglevel=error",
        ]
        return _run_package_tool(command, folder, f"npm package {spec}")

    name = f"npm-{package.replace('/', '-')}-{version}.tgz"
    return _fetch(f"npm package {spec}", sha256, _downloads(cache_dir) / name, download)


def fetch_pypi(
    package: str, version: str, sha256: str, *, cache_dir: str | os.PathLike = ""
) -> Path:
    """Fetches the one file, wheel or sdist, of a PyPI package version that has this hash.

    pip's hash-checking mode picks the file. For an sdist pip insists on preparing metadata, which
    runs the package's build script, but only after the hash has been checked.

    Returns:
        Path of the file. Its name has no suffix: the hash decides whether it is a zip (wheel) or a
        tar file (sdist).

    Raises:
        UserError: pip is missing, the index cannot be reached, or no file has this hash.
    """
    spec = f"{package}=={version}"

    def download(folder: Path) -> Path:
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{spec} --hash=sha256:{sha256}\n")
        target = folder / "files"
        target.mkdir()
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--retries",
            "1",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
            str(requirements),
            "-d",
            str(target),
        ]
        try:
            return _run_package_tool(command, target, f"PyPI package {spec}")
        except UserError:
            # Perhaps an sdist whose build tools are installed here but cannot be fetched anew.
            with contextlib.suppress(UserError):
                return _run_package_tool([*command, "--no-build-isolation"], target, spec)
            raise

    name = f"pypi-{package}-{version}-{sha256[:8]}"
    return _fetch(f"PyPI package {spec}", sha256, _downloads(cache_dir) / name, download)


def _downloads(cache_dir: str | os.PathLike) -> Path:
    return cache_root(cache_dir) / "downloads"


def _fetch(what: str, sha256: str, dest: Path, download: Callable[[Path], Path]) -> Path:
    """Runs `download(empty folder) -> file` unless `dest` is right; checks and renames it."""
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(dest):
            if dest.exists():
                if sha256_of(dest) == sha256:
                    return dest
                dest.unlink()
            with tempfile.TemporaryDirectory(dir=dest.parent, prefix=PARTIAL) as folder:
                try:
                    file = download(Path(folder))
                except UserError as error:
                    raise UserError(
                        f"{error}; connect to the internet, or put the file with sha256 {sha256} "
                        f"at {dest} yourself"
                    ) from error
                found = sha256_of(file)
                if found != sha256:
                    raise UserError(
                        f"{what} has sha256 {found} where {sha256} was expected, so it was thrown "
                        f"away; try again, or put the right file at {dest} yourself"
                    )
                os.replace(file, dest)
    except OSError as error:
        raise UserError(
            f"cannot keep {what} in {dest.parent} ({_reason(error)}); free some space or set "
            "WAE_JAX_CACHE to another folder"
        ) from error
    return dest


def _run_package_tool(command: list[str], folder: Path, what: str) -> Path:
    """Runs npm or pip and returns the one file it left in `folder`."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=_PACKAGE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"cannot fetch {what} (no end after {_PACKAGE_TIMEOUT_S} s)") from error
    files = [path for path in folder.iterdir() if path.is_file()]
    if done.returncode or len(files) != 1:
        raise UserError(f"cannot fetch {what} ({_error_line(done)})")
    return files[0]


def _error_line(done: subprocess.CompletedProcess) -> str:
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "npm err"))]
    return (errors or lines or [f"exit status {done.returncode}"])[0][:200]


def _copy_with_progress(reply, file, name: str) -> None:
    total = int(reply.headers.get("Content-Length") or 0)
    with progress_bar(name, total, unit="B", scaled=True) as bar:
        while chunk := reply.read(_CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))


def _reason(error: Exception) -> str:
    return str(
        getattr(error, "reason", None)
        or getattr(error, "strerror", None)
        or error
        or type(error).__name__
    )
