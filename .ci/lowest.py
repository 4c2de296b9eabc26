"""The lowest versions that setup.cfg allows, as constraints for pip: `name == X` for each `name >= X`."""

import configparser
from pathlib import Path

settings = configparser.ConfigParser()
settings.read(Path(__file__).parents[1] / "setup.cfg")
extras = settings["options.extras_require"]
for line in f"{settings['options']['install_requires']}\n{extras['imagenet']}\n{extras['test']}".splitlines():
    if line:
        print(line.replace(">=", "=="))
