"""Reads a compose file strictly by the Compose Specification, and prints its services.

usage: accepted.py compose.yaml
"""

import json
import re
import sys

import compose_spec
import yaml

with open(sys.argv[1], encoding="utf-8") as source:
    # Variables are filled in before a file is judged: here with their defaults.
    text = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", source.read())
parsed = compose_spec.PyCompose.from_json(json.dumps(yaml.safe_load(text)))
print("\n".join(parsed.service_names()))
