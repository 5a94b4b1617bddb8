#!/usr/bin/env python3
"""Asks a node of the Management framework for the value of an identifier, through a bridge.

    websocket_client.py URL TOKEN-FILE NODE IDENTIFIER

Requires the Python package `websockets`, version 13 or later.
"""
import json
import sys

from websockets.sync.client import connect

API = "Management::Node::API::"
TOPIC = "zeek/management/node"


def value(kind, data):
    return {"@data-type": kind, "data": data}


def string(text):
    return value("string", text)


url, token_file, node, identifier = sys.argv[1:]
with open(token_file) as file:
    headers = {"Authorization": f"Bearer {file.read().strip()}"}
with connect(url, additional_headers=headers) as bridge:
    bridge.send(json.dumps([TOPIC]))  # the first message: the topics to subscribe to
    bridge.recv()  # the server's first message: {"type": "ack", ...}
    action = value("vector", [string("get_id_value"), string(identifier)])
    request = value("vector", [string("request-1"), action, value("set", [string(node)])])
    event = value("vector", [string(API + "node_dispatch_request"), request])
    message = value("vector", [value("count", 1), value("count", 1), event])
    bridge.send(json.dumps({"type": "data-message", "topic": TOPIC, **message}))
    for text in bridge:
        name, args = json.loads(text)["data"][2]["data"][:2]
        if name["data"] == API + "node_dispatch_response":
            result = args["data"][1]["data"]  # the fields of the record Management::Result
            print(json.dumps({"success": result[1]["data"], "data": result[3]["data"], "error": result[4]["data"]}))
            break
