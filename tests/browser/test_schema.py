"""The answers keep to what the OpenAPI page says of them, whatever is asked."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def test_no_question_breaks_the_server(one):
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists() and not shutil.which("schemathesis"):
        pytest.skip("schemathesis is not installed")
    # A question that the types allow may still be refused, in words: a sample or a reduction that is not there.
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    words = ["run", f"{one.url}openapi.json", "--max-examples", "20", "--phases", "coverage,fuzzing", "--seed", "1"]
    words += ["--checks", checks]
    command = [str(program if program.exists() else "schemathesis"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
