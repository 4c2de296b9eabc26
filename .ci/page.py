"""Whether the page is in what is installed: starts `python -m tinynet view lenet`, asks for all of it, and ends it."""

import json
import re
import signal
import subprocess
import sys
import urllib.request

command = [sys.executable, "-m", "tinynet", "view", "lenet", "--port", "0"]
process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
address = process.stdout.readline().split()[0]


def get(path: str) -> str:
    with urllib.request.urlopen(f"{address}{path}") as response:
        return response.read().decode()


wanted = re.findall(r'(?:src|href)="/?(page/[^"]+)"', get(""))
assert wanted, "the page loads nothing"
while wanted:  # and what those import
    name = wanted.pop()
    wanted += [f"page/{one}" for one in re.findall(r'^import .*"\./([^"]+)";$', get(name), re.M)]
assert json.loads(get("api/network"))["layers"]
process.send_signal(signal.SIGINT)
assert process.wait() == 130, process.returncode
