"""The server: on loopback, behind a token, for its own page only."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from featscope.errors import BadOptionError
from featscope.viewer.answers import QUESTIONS, Viewer
from featscope.viewer.page import static_files
from featscope.viewer.server import HEADERS, Address, make_app

uvicorn = pytest.importorskip("uvicorn")


@pytest.fixture
def address(two_samples):
    """A viewer that listens."""
    address = Address()
    server = uvicorn.Server(
        uvicorn.Config(make_app(Viewer([two_samples]), address.token), log_level="error", lifespan="off")
    )
    thread = threading.Thread(target=server.run, args=([address.socket],))
    thread.start()
    yield address
    server.should_exit = True
    thread.join()


def get(address, path, method="GET", **headers):
    """A reply: status, headers, body. Each reply is checked for the headers that all must have."""
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=20)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    for name, value in HEADERS.items():
        assert reply.getheader(name) == value, (path, name)
    return reply.status, reply, body


def test_answers_through_one_connection_do_not_wait_for_one_another(address):
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=20)
    times = []
    for _ in range(15):
        start = time.perf_counter()
        connection.request("GET", f"/{address.token}/main.js")
        assert connection.getresponse().read()
        times.append(time.perf_counter() - start)
    connection.close()
    assert sorted(times)[7] < 0.03, times  # 0.04 with Nagle's algorithm, 0.001 without


def test_the_page_and_its_answers(address):
    status, reply, body = get(address, f"/{address.token}/")
    assert status == 200
    assert reply.getheader("content-type").startswith("text/html")
    assert b"<script" in body
    for name in QUESTIONS:
        status, reply, body = get(
            address, f"/{address.token}/ask/{name}?run=0" if name != "about" else f"/{address.token}/ask/about"
        )
        assert status == (400 if name == "explain" else 404 if name == "explanation" else 200), (name, body)
        assert reply.getheader("etag")
    assert json.loads(get(address, f"/{address.token}/openapi.json")[2])["openapi"].startswith("3.")


def test_a_second_question_costs_nothing(address):
    path = f"/{address.token}/ask/map"
    _, reply, body = get(address, path)
    again, _, nothing = get(address, path, If_None_Match=reply.getheader("etag"))
    assert (again, nothing) == (304, b"")
    assert body


@pytest.mark.parametrize("path", ["/", "/ask/about", "/wrong/", "/wrong/ask/about", "/favicon.ico"])
def test_nothing_is_told_without_the_token(address, path):
    assert get(address, path)[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "../pyproject.toml",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/server.py",
        "//etc/passwd",
        "draw/../../server.py",
        "static/",
    ],
)
def test_no_other_file_is_served(address, path):
    status, _, body = get(address, f"/{address.token}/{path}")
    assert status == 404
    assert body == b"there is no such file"


def test_nothing_can_be_written(address):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert get(address, f"/{address.token}/ask/about", method)[0] == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_pages_and_other_names_are_refused(address, headers):
    for path in (f"/{address.token}/ask/about", f"/{address.token}/ask/image", f"/{address.token}/main.js", "/"):
        assert get(address, path, **headers)[0] == 403


def test_what_ssh_forwards_is_answered(address):
    for host in ("localhost:9999", "127.0.0.1:1", "[::1]:8080"):
        assert get(address, f"/{address.token}/ask/about", Host=host, Origin=f"http://{host}")[0] == 200


def test_a_link_to_the_page_may_be_followed_from_elsewhere(address):
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert get(address, f"/{address.token}/", **link)[0] == 200
    assert get(address, f"/{address.token}/ask/about", **link)[0] == 403


def test_a_port_in_use_is_an_error_that_says_what_to_type():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadOptionError, match=f"port {port}: .*in use; type --port with another number"):
            Address(port=port)


def test_an_address_of_another_machine_is_an_error_that_says_what_to_type():
    with pytest.raises(BadOptionError, match="give an address of this machine: --host 127.0.0.1"):
        Address("192.0.2.1")


def test_the_address_is_a_secret():
    first, second = Address(), Address()
    assert first.host == "127.0.0.1"
    assert first.token != second.token
    assert len(first.token) >= 16
    first.socket.close()
    second.socket.close()


def test_the_command_prints_its_address_and_ends_with_ctrl_c(two_samples):
    environment = dict(os.environ, SSH_CONNECTION="10.0.0.9 51000 192.0.2.7 22", USER="ada")
    environment.pop("DISPLAY", None)
    command = [sys.executable, "-m", "featscope", "view", str(two_samples)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        lines = [process.stdout.readline() for _ in range(4)]
        address = lines[0].split()[-1]
        port = int(address.split(":")[2].split("/")[0])
        assert lines[2] == f"  ssh -N -L {port}:127.0.0.1:{port} ada@192.0.2.7\n"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", address.partition(str(port))[2] + "ask/about")
        assert connection.getresponse().read(1) == b"{"
        connection.close()
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode in (0, 130), errors
    assert "Traceback" not in errors


def test_a_folder_that_is_no_run(tmp_path, capsys):
    from featscope.cli import main

    with pytest.raises(SystemExit):
        main(["view", str(tmp_path / "nothing")])
    assert "does not exist; give the folder of a run" in capsys.readouterr().err


def test_the_page_names_all_its_modules_and_each_is_there(address):
    text = get(address, f"/{address.token}/")[2].decode()
    named = re.findall(r'<link rel="modulepreload" href="([^"]+)">', text)
    alone = {"embedded.js"}  # of reports
    assert sorted(named) == sorted(name for name in static_files() if name.endswith(".js") and name not in alone)
    assert all(get(address, f"/{address.token}/{name}")[0] == 200 for name in named)
