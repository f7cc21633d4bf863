"""Heads of requests: what may stand in a request line and in headers, and what may not."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from fuzz.exchange import Sent
from fuzz.place import HOST

_ID = "0123456789abcdef" * 2

METHODS = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
    *("TRACE", "CONNECT", "PROPFIND", "get", "PRI", "GE\x01T", "G\xc9T", "A" * 300, ""),
)

NODE_PATHS = (
    *("/api/internal/upload", "/api/internal/upload/a.bin", "/api/v1/uploads"),
    *(f"/api/v1/uploads/{_ID}", f"/api/internal/replicate/isos/2026/01/02/03/{_ID}.bin"),
    *("/api/v1/files", f"/api/v1/files/{_ID}", f"/api/v1/files/{_ID}/content"),
    *(f"/api/v1/files/{_ID}/verify", "/api/v1/quarantine", f"/api/v1/quarantine/{_ID}"),
    *(f"/f/{_ID}", f"/f/{_ID}/a.bin", "/uploads/isos/2026/01/02/03/a.bin"),
    *("/uploads/private/a.bin", "/uploads/", "/api/v1/system/upload-status", "/openapi.json"),
    *(
        "/api/v1/system/keys",
        "/health/ready",
        "/metrics",
        "/",
        "/internal/preflight",
        "/_preflight",
    ),
    *("/_malformed", "/_stored/a", "/internal/missing", "/api/"),
)

CONTROL_PATHS = (
    *("/api/v1/upload/sessions", "/api/v1/upload/server", "/api/v1/nodes", "/api/v1/nodes/s01"),
    *("/api/v1/nodes/s01/heartbeat", "/api/v1/nodes/s01/inventory", "/api/v1/nodes/s01/state"),
    *("/api/v1/nodes/s01/inventory/files", "/api/v1/repair", "/api/v1/pools", "/api/v1/pools/s01"),
    *("/api/v1/files", f"/api/v1/files/{_ID}", f"/api/v1/files/{_ID}/url", f"/f/{_ID}/a"),
    *("/api/v1/moves", f"/api/v1/moves/{_ID}", f"/api/v1/moves/{_ID}/pause"),
    *("/health/ready", "/metrics", "/openapi.json", "/", "/api/"),
)

_IN_A_TARGET = (
    *("//", "//[::1/..", "[", "]", "[::1", "//[", "http://[::1", "\\", "/../", "/./", "%2f..%2f"),
    *("%00", "%", "%zz", "%ff", "%c0%af", "%ed%a0%80", "%0d%0a", "\x93", "\xff\xfe", "\xc3\xa9"),
    *("\x00", "\x01", "\x7f", "\t", " ", "#", "?", "?token=", "??", "&&=", "@", ":", ";", "*"),
    *("~", "|", "^", '"', "<script>", "{}", "\u00ad", "%e2%80%ae", "%f0%9f%92%a9", ".attr.json"),
    *("eyJhbGciOiJFZERTQSJ9.e30.", "a" * 300, "a" * 9000, "%61" * 2700, "/" * 2000),
)

_QUERIES = (
    *("cursor=99999999999999999999999999999", "cursor=%00", "cursor=\x93", "limit=1e400"),
    *("limit=999999999999999999999999", "limit=-1", "limit=nan", "limit=%00", "owner=%00"),
    *("owner=%ff", "owner=%ed%a0%80", "namespace=%00", "name=%00", "avoid=s01,%00,\x93"),
    *("committed_after=99999-01-01T00:00:00Z", "committed_after=0001-01-01T00:00:00%2B23:59"),
    *("committed_before=9999-12-31T23:59:59-23:59", "committed_after=1e400", "size=1e400"),
    *("committed_after=9223372036854775807", "committed_before=-9223372036854775808"),
    *("download", "download=%00", "token=%00", "token=eyJ.eyJ.", "state=%00", "=", "&", "%=%"),
    *("owner=a&owner=b", "cursor=AAAA", "cursor=MTox", "cursor=LTE", "size=-1", "node_id=%00"),
    "cursor=9e999_0123456789abcdef0123456789abcdef",
)

VERSIONS = (
    *("HTTP/1.1",) * 12,
    *(
        "HTTP/1.0",
        "HTTP/0.9",
        "HTTP/1.9",
        "HTTP/2.0",
        "HTTP/3.0",
        "HTTP/9.9",
        "HTTP/1.",
        "http/1.1",
    ),
    *("", "HTTP/1.1 ", "HTCPCP/1.0", "HTTP/11.1", "HTTP/1.1\x00", "HTTP/\xb9.1"),
)

_FIELDS = (
    *("Accept", "Accept-Encoding", "Authorization", "Content-Digest", "Content-Disposition"),
    *("Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Cookie", "Expect"),
    *("Forwarded", "Host", "Idempotency-Key", "If-Match", "If-None-Match", "If-Range", "Origin"),
    *("If-Modified-Since", "If-Unmodified-Since", "Prefer", "Range", "Referer", "Repr-Digest"),
    *("TE", "Trailer", "Transfer-Encoding", "Tus-Resumable", "Upgrade", "Upload-Checksum"),
    *("Upload-Complete", "Upload-Concat", "Upload-Defer-Length", "Upload-Draft-Interop-Version"),
    *("Upload-Incomplete", "Upload-Length", "Upload-Metadata", "Upload-Offset", "User-Agent"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-HTTP-Method-Override", "X-Request-ID"),
    *("X-Original-URI", "X-Original-Method", "Access-Control-Request-Method", "Connection"),
    *("Access-Control-Request-Headers", "X-File-Name", "X-File-Size", "Want-Repr-Digest"),
    *("SCRIPT_NAME", "SCRIPT-NAME", "Wsgi-Url-Scheme", "Proxy", "Content_Length", "Secret-Header"),
)

_VALUES = (
    *("", "0", "1", "-1", "+1", "01", "1.0", "1e400", "NaN", "Infinity", "9" * 19, "9" * 400),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "\u0661", "0x10"),
    *("?0", "?1", "?2", "()", "(1 2", ":YQ==:", ":=:", "sha-256=:YQ==:", "sha-256=:", "sha1 YQ=="),
    *("sha-256=:" + "A" * 43 + "=:", "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "@1e9", '"', '"\\'),
    *("filename YQ==", "filename \x93", "filename ,,,", "filename YQ==,filename YQ==", "\xff YQ=="),
    *("final;http://[::1", "final;//[", "final;/api/v1/uploads/x /api/v1/uploads/" + _ID),
    *("final;" + f"/api/v1/uploads/{_ID} " * 50, "partial", "final;", "final", "partial;x"),
    *("bytes=0-", "bytes=-1", "bytes=9-1", "bytes=" + "0-," * 900, "bytes 0-1/2", "items=0-1"),
    *("bytes=99999999999999999999999-", "chunked", "gzip, chunked", "identity", "chunked, chunked"),
    *("100-continue", "200-ok", "gzip", "*/*", "application/json", "text/html; charset=\xff"),
    *("multipart/form-data", "multipart/form-data; boundary=" + "b" * 300, "application/x-tar"),
    *("multipart/form-data; boundary=x", "application/offset+octet-stream", "a/b; c*=utf-8''%ff"),
    *("application/partial-upload", 'form-data; name="file"; filename="\x93"', "attachment"),
    *(
        "attachment; filename*=UTF-8''%ff%fe",
        "attachment; filename*=x'y",
        'inline; filename="../a"',
    ),
    *("1.0.0", "0.2.2", "1.0.0, 1.0.0", "3", "8", "99", "PATCH", "DELETE", "TRACE", "\x93\x94"),
    *(
        "Basic \xff",
        "Bearer",
        "Bearer ",
        "Bearer a.b.c",
        "Bearer eyJ.eyJ.",
        "bearer \x93",
        "Digest a",
    ),
    *(
        "http://[::1",
        "//[",
        "https://evil.example",
        "null",
        "a b",
        "\tx\t",
        "x\x00y",
        "x\x01",
        "\x7f",
    ),
    *("Thu, 99 Foo 99999 99:99:99 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", '"abc"', "W/*", "*"),
    *("close", "keep-alive, upgrade", "h2c", "max-size=1", "u=9", "%00", "%ff", "é", "\xc3\x28"),
    *("a" * 4000, "a" * 8300, "a," * 2000, "()" * 1000, "((((((((((", "x" + "\t" * 300 + "y"),
)

_HOSTS = (
    *(HOST,) * 16,
    *(
        "",
        "a b",
        "[::1",
        "a:b:c",
        "a:99999",
        "\xff",
        "a/b",
        "..",
        "x" * 300,
        "localhost:0",
        "[::1]:1",
    ),
)


def target(random: Random, paths: Sequence[str]) -> str:
    """A request's target: a path as it should be, one with something in it, or none at all."""
    path = random.choice(paths)
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        at = random.choice((0, len(path), random.randrange(len(path) + 1)))
        path = path[:at] + random.choice(_IN_A_TARGET) + path[at:]
    if random.random() < 0.35:
        path += "?" + "&".join(random.choices(_QUERIES, k=random.randint(1, 3)))
    form = random.random()
    if form < 0.04:
        return random.choice(("http://", "https://", "ftp://", "//", "http:/")) + HOST + path
    return random.choice(("*", "", HOST + ":443", path[1:])) if form < 0.08 else path


def fields(random: Random, tokens: Sequence[str]) -> list[tuple[str, str]]:
    """Some headers, most of them by names that mean something here."""
    found = [("Host", random.choice(_HOSTS))]
    if random.random() < 0.05:
        found = random.choice(([], found * 2))
    if tokens and random.random() < 0.6:
        found.append(("Authorization", f"Bearer {random.choice(tokens)}"))
    for _ in range(random.choice((0, 1, 1, 2, 3, 5))):
        found.append((random.choice(_FIELDS), random.choice(_VALUES)))
    if random.random() < 0.02:
        found += [(f"x{number}", "y") for number in range(random.choice((90, 101, 300, 1200)))]
    if random.random() < 0.03:
        found.append((random.choice(("a b", "", "x\x00", "\x93", "a" * 8200, "x:", " x")), "1"))
    return found


def request(random: Random, port: int, paths: Sequence[str], tokens: Sequence[str]) -> Sent:
    """A request with an odd head; its body is as long as the head says, as a rule."""
    method = random.choice(METHODS[:7] if random.random() < 0.8 else METHODS)
    end = "\r\n" if random.random() < 0.97 else random.choice(("\n", "\r", "\n\r"))
    line = f"{method} {target(random, paths)} {random.choice(VERSIONS)}".rstrip(" ")
    told = fields(random, tokens)
    names = {name.lower() for name, _ in told}
    body = b""
    if not names & {"content-length", "transfer-encoding"} and random.random() < 0.4:
        body = random.choice(
            (b"", b"x", b"{}", b"\x00\xff", b"[" * 2000, b'{"a": NaN}', bytes(3000))
        )
        told.append(("Content-Length", str(len(body))))
    elif "transfer-encoding" in names:
        body = random.choice(
            (
                b"0\r\n\r\n",
                b"1\r\nx\r\n0\r\n\r\n",
                b"zz\r\n",
                b"-1\r\n\r\n",
                b"0\r\nT: \x00\r\n\r\n",
            )
        )
    head = line + end + "".join(f"{name}: {value}{end}" for name, value in told) + end
    # What announces more than it sends ends with its connection.
    whole = not names & {"content-length", "transfer-encoding"} and end == "\r\n"
    return Sent(port, head.encode("latin-1", "replace") + body, whole)
