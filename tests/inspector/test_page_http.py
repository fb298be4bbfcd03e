"""The page's server as HTTP sees it: who is let in, what an answer may do in a browser, what cannot be asked."""

import hmac
import json
from importlib.resources import files

import pytest
from page_kit import HOSTILE, TOKEN

pytest.importorskip("starlette", reason='pip install "agentmem[inspect]"')
from starlette.testclient import TestClient

from agentmem import MemoryStore
from agentmem.inspector import app as pages
from agentmem.inspector.app import MAX_BODY, application
from agentmem.inspector.guard import Access

HOME = "http://127.0.0.1:8000"
ORIGIN = {"origin": HOME}
GOOD = {"query": "bees", "accepted": ["bees"], "shown": ["bees"]}


def client(store, *, writable=False, access=None, **options):
    """Return a client that has the token exchanged already, unless ``access`` says otherwise."""
    made = TestClient(application(store, access or Access(token=TOKEN), writable=writable), HOME, **options)
    if access is None:
        assert made.get(f"/?token={TOKEN}").status_code == 200
    return made


@pytest.fixture
def store(filled):
    with MemoryStore(filled, read_only=True) as opened:
        yield opened


@pytest.fixture
def page(store):
    return client(store)


@pytest.fixture
def writable(copy):
    with MemoryStore(copy, merge="manual") as opened:
        yield client(opened, writable=True)


def test_the_token_is_exchanged_for_a_cookie_that_no_script_and_no_other_site_gets(store):
    page = TestClient(application(store, Access(token=TOKEN, cookie="agentmem-1")), HOME, follow_redirects=False)
    answer = page.get(f"/?token={TOKEN}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    name, *attributes = [part.strip().lower() for part in answer.headers["set-cookie"].split(";")]
    assert name.startswith("agentmem-1=")
    assert TOKEN not in name
    assert {"httponly", "samesite=strict", "path=/"} <= set(attributes)
    assert page.get("/").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=wrong", f"/api/about?token={TOKEN}", "/static/app.js", "/no"]
)
def test_without_the_token_nothing_is_told(store, path):
    answer = client(store, access=Access(token=TOKEN)).get(path)
    assert answer.status_code == 401
    assert "agentmem inspect" in answer.text
    assert not answer.cookies


@pytest.mark.parametrize("cookie", ["", "wrong", TOKEN])
def test_another_cookie_lets_nobody_in(store, cookie):
    page = client(store, access=Access(token=TOKEN))
    page.cookies.set("agentmem", cookie)
    assert page.get("/api/about").status_code == 401


def test_a_cookie_ends_with_its_server(store, page):
    later = client(store, access=Access(token=TOKEN))
    later.cookies = page.cookies
    assert later.get("/api/about").status_code == 401


def test_secrets_are_compared_in_constant_time(store, monkeypatch):
    compared = []
    plain = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or plain(a, b))
    access = Access(token=TOKEN)
    page = client(store, access=access)
    page.get("/?token=wrong")
    assert (b"wrong", TOKEN.encode()) in compared
    page.cookies.set("agentmem", "nothing")
    page.get("/")
    assert compared[-1] == (b"nothing", access.session.encode())


def test_without_a_token_the_other_walls_stand(store):
    page = client(store, access=Access(token=None))
    assert page.get("/api/about").status_code == 200
    assert page.get("/api/about", headers={"host": "evil.example"}).status_code == 421
    assert page.get("/api/about", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert page.post("/api/check").status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "localhost", "[::1]:8000", "127.8.9.1"])
def test_hosts_of_this_machine_are_known(page, host):
    assert page.get("/api/about", headers={"host": host}).status_code in (200, 401)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "",
        "[",
        "a b",
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(page, host):
    answer = page.get("/api/about", headers={"host": host})
    assert answer.status_code == 421
    assert "memory.db" not in answer.text


def test_where_other_machines_are_let_in_numbers_are_known_and_names_are_not(store):
    page = client(store, access=Access(host="0.0.0.0", token=TOKEN))
    assert page.get("/", headers={"host": "192.0.2.7:8000"}).status_code == 401
    assert page.get("/", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["/api/about", "/static/app.js"])
def test_another_site_s_page_may_not_ask(page, site, path):
    assert page.get(path, headers={"sec-fetch-site": site}).status_code == 403


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/api/about", "/api/record?id=nobody", "/nothing"])
def test_every_answer_says_what_it_may_do(page, path):
    headers = page.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert not [name for name in headers if name.startswith("access-control-")]


def test_refusals_carry_the_same_headers(store):
    assert "default-src 'none'" in client(store, access=Access(token=TOKEN)).get("/").headers["content-security-policy"]


def test_the_page_and_its_parts_are_served(page):
    home = page.get("/")
    assert home.headers["content-type"] == "text/html; charset=utf-8"
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "html": "text/html"}
    for each in files("agentmem.inspector").joinpath("static").iterdir():
        answer = page.get(f"/static/{each.name}")
        assert answer.content == each.read_bytes()
        assert answer.headers["content-type"].split(";")[0] == kinds[each.name.rpartition(".")[2]]


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/nothing.js", "/api/"]
)
def test_there_is_nothing_else(page, path):
    assert page.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("about", "mechanisms"),
        ("namespaces?branch=users/", "nodes"),
        ("threads?namespace=users/ada", "threads"),
        ("timeline?namespace=users/ada&thread=kitchen&order=newest", "records"),
        ("timeline?namespace=users", "records"),
        ("search?text=bees&k=5&mechanism=rrf&namespace=users", "hits"),
        ("record?id=bees", "metadata"),
        ("health", "index"),
        ("latency", "stages"),
        ("learning", "attempts"),
        ("check", "state"),
    ],
)
def test_questions_are_answered(page, path, key):
    answer = page.get(f"/api/{path}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert key in answer.json()


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("search", 400, "InvalidInput"),
        ("search?text=", 400, "InvalidInput"),
        ("search?text=a&k=x", 400, "InvalidInput"),
        ("search?text=a&k=-1", 400, "InvalidInput"),
        ("search?text=a&k=٣", 400, "InvalidInput"),
        ("search?text=a&k=" + "9" * 30, 400, "InvalidInput"),
        ("search?text=a&mechanism=no", 400, "UnknownMechanism"),
        ('search?text=a&filter={"a":{"$no":1}}', 400, "InvalidFilter"),
        ("search?text=a&filter={", 400, "InvalidInput"),
        ("record?id=nobody", 404, "NotFound"),
        ("record?id=", 400, "InvalidInput"),
        ("threads", 400, "InvalidInput"),
        ("timeline?namespace=a&after=x", 400, "InvalidInput"),
        ("namespaces?branch=x", 400, "InvalidInput"),
    ],
)
def test_what_cannot_be_asked_is_told_in_words(page, path, status, kind):
    answer = page.get(f"/api/{path}")
    assert answer.status_code == status
    assert answer.json()["kind"] == kind
    assert answer.json()["error"]


def test_hostile_names_come_through_as_they_are(page):
    record = page.get("/api/record", params={"id": HOSTILE}).json()
    assert record["id"] == record["namespace"] == record["thread"] == record["speaker"] == HOSTILE
    assert json.loads(record["metadata"]["text"]) == {HOSTILE: HOSTILE}
    assert page.get("/api/timeline", params={"namespace": HOSTILE, "thread": HOSTILE}).json()["records"]


def test_bytes_that_are_no_text_are_refused_and_break_nothing(page):
    for query in ("text=%ff%fe", "text=%00", "text=%ed%a0%80"):
        assert page.get(f"/api/search?{query}").status_code in (200, 400)


def test_a_mistake_of_the_page_is_logged_and_not_shown(page, monkeypatch, caplog):
    monkeypatch.setattr("agentmem.inspector.views.Views.latency", lambda _: 1 / 0)
    answer = page.get("/api/latency")
    assert answer.status_code == 500
    assert "division" not in answer.text
    assert "ZeroDivisionError" in caplog.text


def test_feedback_is_kept_where_the_page_is_writable(writable, copy):
    assert writable.get("/api/about").json()["writable"]
    assert writable.post("/api/feedback", json=GOOD, headers=ORIGIN).json() == {"kept": True}
    with MemoryStore(copy, read_only=True) as store:
        assert store.feedback_log(1)[0].query == "bees"


def test_a_read_only_page_takes_no_feedback_and_says_how(page):
    assert not page.get("/api/about").json()["writable"]
    answer = page.post("/api/feedback", json=GOOD, headers=ORIGIN)
    assert answer.status_code == 403
    assert "--write" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://localhost:8000"},
        {**ORIGIN, "sec-fetch-site": "cross-site"},
        {**ORIGIN, "sec-fetch-site": "same-site"},
    ],
)
def test_another_site_s_form_changes_nothing(writable, copy, headers):
    assert writable.post("/api/feedback", json=GOOD, headers=headers).status_code == 403
    assert writable.post("/api/check", headers=headers).status_code == 403
    with MemoryStore(copy, read_only=True) as store:
        assert store.feedback_log(1)[0].query == HOSTILE


def test_a_form_s_content_is_no_feedback(writable):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = writable.post("/api/feedback", content=json.dumps(GOOD), headers={**ORIGIN, "content-type": kind})
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"[" * 60_000, b'{"query": "\\ud800", "accepted": ["bees"]}']
)
def test_feedback_that_cannot_be_read_is_refused(writable, body):
    answer = writable.post("/api/feedback", content=body, headers={**ORIGIN, "content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["kind"] == "InvalidInput"


def test_a_huge_body_is_not_read(writable):
    body = json.dumps({**GOOD, "query": "x" * MAX_BODY})
    answer = writable.post("/api/feedback", content=body, headers={**ORIGIN, "content-type": "application/json"})
    assert answer.status_code == 400
    assert str(MAX_BODY) in answer.json()["error"]


def test_feedback_on_a_record_that_is_gone_is_told(writable):
    answer = writable.post("/api/feedback", json={"query": "x", "accepted": ["gone"]}, headers=ORIGIN)
    assert answer.status_code == 404
    assert "gone" in answer.json()["error"]


@pytest.mark.parametrize("method", ["put", "delete", "patch", "options"])
def test_other_methods_do_nothing(writable, method):
    for path in ("/api/feedback", "/api/about", "/"):
        assert getattr(writable, method)(path, headers=ORIGIN).status_code == 405


def test_reading_with_post_and_writing_with_get_are_refused(writable):
    assert writable.get("/api/feedback").status_code == 405
    assert writable.post("/api/about", headers=ORIGIN).status_code == 405


def test_a_check_is_begun_and_followed(page, monkeypatch):
    made = []
    plain = pages.CheckJob

    def noted(store, *, full):
        made.append(plain(store, full=full))
        return made[-1]

    monkeypatch.setattr(pages, "CheckJob", noted)
    with MemoryStore(":memory:") as store:
        store.add("tea")
        page = client(store)
        assert page.post("/api/check", headers=ORIGIN).status_code == 200
        made[0].wait()
        state = page.get("/api/check").json()
    assert state["state"] == "done"
    assert state["report"]["records"] == 1
    assert not state["report"]["full"]


def test_a_store_that_is_closed_or_busy_is_told(filled):
    with MemoryStore(filled, read_only=True) as store:
        page = client(store)
    answer = page.get("/api/search?text=tea")
    assert answer.status_code == 500
    assert answer.json()["kind"] == "StoreClosed"
