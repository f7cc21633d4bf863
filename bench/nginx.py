"""The nginx that stands before every contender: the same one, only its locations differ.

Plain HTTP on loopback, unless told otherwise: TLS would cost everyone the same and hide the
differences.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import Server, accepts, reserved_port, running
from portside.sizing import Sizing

_CONFIGURATION = """\
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
daemon off;
user {user};
pid {directory}/nginx.pid;
error_log stderr warn;
worker_processes {sizing.nginx_workers};
worker_rlimit_nofile {sizing.open_files};
events {{ worker_connections {sizing.nginx_connections}; }}
http {{
    default_type application/octet-stream;
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_max_body_size 0;
    # The same filesystem as the files, so that DAV's rename copies nothing.
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
{around_servers}
    server {{
        listen 127.0.0.1:{port}{secured};
        client_body_buffer_size {sizing.nginx_body_buffer};
{locations}
    }}
}}
"""

UNBUFFERED = """\
            proxy_http_version 1.1;
            proxy_set_header Connection close;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_next_upstream off;
            proxy_read_timeout 7200s;
            proxy_send_timeout 7200s;
"""
"""Inside a location: the body goes through as it comes, as Portside's own nginx does it."""


@contextmanager
def front(
    directory: Path, sizing: Sizing, locations: str, around_servers: str = "", *, tls: bool = False
) -> Iterator[tuple[Server, int]]:
    """nginx with these locations, and its port; with `tls` the locations name a certificate."""
    port = reserved_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            # The workers must reach what this user's other processes make.
            user=pwd.getpwuid(os.getuid()).pw_name,
            directory=directory,
            sizing=sizing,
            port=port,
            secured=" ssl" if tls else "",
            locations=locations,
            around_servers=around_servers,
        ),
        encoding="utf-8",
    )
    command = ["nginx", "-p", str(directory), "-c", str(configuration)]
    with running("nginx", command, directory) as server:
        server.wait_until(accepts(port))
        yield server, port


def version() -> str:
    """`nginx/1.22.1`."""
    done = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True)
    return done.stderr.strip().removeprefix("nginx version: ")
