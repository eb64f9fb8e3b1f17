"""NDJSON for schemathesis, which has none of its own."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def serialize(ctx, value):
    lines = value if isinstance(value, list) else [value]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@schemathesis.deserializer("application/x-ndjson")
def deserialize(ctx, response):
    lines = response.content.decode().splitlines()
    return json.loads(lines[0]) if lines else {}
