"""Prints the lowest versions that setup.cfg allows, as pip's constraints: `name >= 1.2` becomes `name == 1.2`."""

import configparser
import re

config = configparser.ConfigParser()
config.read("setup.cfg", encoding="utf-8")
lines = "\n".join([config["options"]["install_requires"], *config["options.extras_require"].values()]).splitlines()
found = {match[1]: match[2] for line in lines if (match := re.match(r"([\w-]+)\s*>=\s*([\d.]+)", line.strip()))}
print(*(f"{name} == {version}" for name, version in found.items()), sep="\n")
