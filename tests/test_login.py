"""A login through a provider (OIDC) of the test's own, in a real browser: the pages stay shut until it has said who is there."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from threading import Thread

import pytest

from tests.test_browser import free_port, page, serve

# The fixture of the browser tests is used by name.
__all__ = ["page"]

CLIENT, SECRET = "cotdistill", "a secret of the client"
pytestmark = [
    pytest.mark.extras,
    pytest.mark.skipif(find_spec("authlib") is None, reason="Authlib is not installed: make test-extras"),
    pytest.mark.skipif(bool(os.environ.get("NO_BROWSER")), reason="NO_BROWSER is set"),
]


class Provider(ThreadingHTTPServer):
    """The authorization code flow of OpenID Connect: discovery, a page to sign in on, tokens signed with RS256, keys."""

    def __init__(self):
        from joserfc.jwk import RSAKey

        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://localhost:{self.server_port}"
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.asked: dict[str, dict[str, str]] = {}


class Answer(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        at = self.server.url
        if url.path == "/.well-known/openid-configuration":
            self.say({
                "issuer": at, "authorization_endpoint": f"{at}/authorize", "token_endpoint": f"{at}/token", "jwks_uri": f"{at}/keys",
                "response_types_supported": ["code"], "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "email", "profile"], "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            })  # fmt: skip
        elif url.path == "/keys":
            self.say({"keys": [self.server.key.as_dict(private=False)]})
        elif url.path == "/authorize":
            links = "".join(
                f'<p><a href="/enter?{urllib.parse.urlencode(query | {"as": name})}">{name}</a></p>'
                for name in ("ada", "eve")
            )
            self.say(f"<h1>Who are you?</h1>{links}".encode(), "text/html")
        elif url.path == "/enter":
            code = f"code-{len(self.server.asked)}"
            self.server.asked[code] = query
            self.send_response(302)
            self.send_header(
                "Location", f"{query['redirect_uri']}?{urllib.parse.urlencode({'code': code, 'state': query['state']})}"
            )
            self.end_headers()
        else:
            self.send_error(404)

    def do_POST(self):
        from joserfc import jwt

        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        told = base64.b64decode(self.headers.get("Authorization", "Basic ").split(" ")[1]).decode()
        asked = self.server.asked.pop(form.get("code", ""), None)
        if (
            self.path != "/token"
            or asked is None
            or urllib.parse.unquote(told) != f"{CLIENT}:{SECRET}"
            or form["redirect_uri"] != asked["redirect_uri"]
        ):
            self.send_error(400)
            return
        now = int(time.time())
        claims = {
            "iss": self.server.url, "aud": CLIENT, "sub": asked["as"], "iat": now, "exp": now + 600, "nonce": asked["nonce"],
            "email": f"{asked['as']}@example.org", "email_verified": True, "name": asked["as"],
        }  # fmt: skip
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.server.key)
        self.say({"access_token": "none", "token_type": "Bearer", "expires_in": 600, "id_token": token})

    def say(self, content, kind="application/json"):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def provider():
    with Provider() as one:
        Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


def test_pages_open_to_whom_the_provider_names_and_the_list_holds(tmp_path, page, provider, monkeypatch):
    port = free_port()
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text(
        f"""[auth]
redirect_uri = "http://localhost:{port}/oauth2callback"
cookie_secret = "{"c" * 40}"
client_id = "{CLIENT}"
client_secret = "{SECRET}"
server_metadata_url = "{provider.url}/.well-known/openid-configuration"
"""
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COTDISTILL_ALLOWED", "ada@example.org")
    server = serve(tmp_path / "store", port)
    home = f"http://localhost:{port}/"
    try:
        for path in ("", "Data", "Train", "Compare", "Saliency", "Key_tokens", "Findings"):
            page.goto(home + path)
            page.get_by_role("button", name="Log in").wait_for()
            assert page.locator("h1").all_inner_texts() == ["cotdistill"] and page.locator("h2, h3").count() == 0
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="eve").click()
        page.get_by_text("You are logged in, but not among those who may enter.").wait_for()
        assert page.locator("h2, h3").count() == 0
        page.get_by_role("button", name="Log out").click()
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="ada").click()
        page.get_by_text("Why do rationales help a small student?").wait_for()
        # A new tab of the same browser is known, another browser is not, and neither is an answer that nobody asked for.
        page.goto(f"{home}Train")
        page.get_by_role("heading", name="Train", exact=True).wait_for()
        other = page.context.browser.new_page()
        other.goto(f"{home}oauth2callback?code=code-0&state=made-up")
        other.goto(home)
        other.get_by_role("button", name="Log in").wait_for()
        other.close()
        page.get_by_role("button", name=re.compile("Log out")).click()
        page.get_by_role("button", name="Log in").wait_for()
        assert page.get_by_text("Traceback").count() == 0
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
