"""What the test tells us, on the command line: run.py --transport NAME --setup JSON TOPIC...

The setup is {http, api, api_key, token_secret, backend_port}: the clients' address and the control API's as URLs
without a path, the API key, the secret that tokens are signed with, and the port where the server looks for its
backend.
"""

import argparse
import json

_parser = argparse.ArgumentParser()
_parser.add_argument("--transport", required=True, choices=["ws-json", "ws-protobuf"])
_parser.add_argument("--setup", type=json.loads, required=True)
_parser.add_argument("topics", nargs="+")
_arguments = _parser.parse_args()

transport = _arguments.transport
setup = _arguments.setup
topics = _arguments.topics
