#!/usr/bin/env python3
"""Records what a coding agent does in Factum, from the agent's own hooks.

A hook of the agent calls this program with the hook's JSON on standard input (Claude Code and
agents with compatible hooks do so). It registers an instance when the session starts, logs every
tool that was used, sends heartbeats with the share of the context that is used, makes a checkpoint
before the context is compacted, and closes the instance when the session ends.

It must never hold up or break the agent: it waits for two seconds at most, always exits with 0, and
is silent unless FACTUM_HOOK_DEBUG is set. It needs nothing but Python 3.8.

Environment:
  FACTUM_URL             the server, by default http://127.0.0.1:7766
  FACTUM_KEY             an API key with the scopes read and append
  FACTUM_PROJECT         the project, by default the name of the working directory
  FACTUM_INSTANCE_TYPE   PS or MS, by default PS
  FACTUM_CONTEXT_TOKENS  how large the context is, by default 200000
  FACTUM_HOOK_STATE      where instance ids are kept, by default ~/.local/state/factum-agent-hook
"""

import hashlib
import json
import os
import pathlib
import re
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

TIMEOUT_SECONDS = 2
HEARTBEAT_SECONDS = 30
TRANSCRIPT_TAIL_BYTES = 1 << 18
TEXT_CHARS_MAX = 8000


class Gone(Exception):
    """The instance is closed, or the server does not know it."""


def call(method, path, body=None):
    url = os.environ.get("FACTUM_URL", "http://127.0.0.1:7766").rstrip("/") + path
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    request.add_header("Content-Type", "application/json")
    key = os.environ.get("FACTUM_KEY")
    if key:
        request.add_header("Authorization", "Bearer " + key)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        problem = json.loads(error.read() or b"{}")
        if problem.get("code") in ("instance_closed", "instance_not_found"):
            raise Gone() from error
        raise RuntimeError(f"{method} {path}: {problem.get('code')}: {problem.get('detail')}") from error


class Session:
    """What is known of one session of the agent, kept in a file between two hooks."""

    def __init__(self, hook):
        self.external_id = str(hook.get("session_id") or "default")
        state = os.environ.get("FACTUM_HOOK_STATE")
        directory = pathlib.Path(state or pathlib.Path.home() / ".local/state/factum-agent-hook")
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = hashlib.sha256(self.external_id.encode()).hexdigest()[:32]
        self.file = directory / (name + ".json")
        try:
            self.known = json.loads(self.file.read_text())
        except (OSError, ValueError):
            self.known = {}

    def save(self):
        part = self.file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(self.known))
        part.replace(self.file)

    def instance(self, hook):
        if "instance_id" not in self.known:
            self.register(hook)
        return urllib.parse.quote(self.known["instance_id"], safe="")

    def register(self, hook):
        directory = hook.get("cwd") or os.getcwd()
        project = os.environ.get("FACTUM_PROJECT") or pathlib.Path(directory).name
        project = re.sub(r"[^A-Za-z0-9._-]+", "-", project).lstrip("-._")[:64] or "project"
        made = call("POST", "/v1/sessions", {
            "project": project,
            "instance_type": os.environ.get("FACTUM_INSTANCE_TYPE", "PS"),
            "initial_context": {
                "host": socket.gethostname(),
                "external_session_id": self.external_id,
                "directory": directory,
            },
        })
        self.known = {"instance_id": made["instance_id"], "heartbeat_at": 0}
        self.save()

    def heartbeat(self, hook, force=False):
        path = f"/v1/sessions/{self.instance(hook)}/heartbeat"
        if not force and time.time() - self.known.get("heartbeat_at", 0) < HEARTBEAT_SECONDS:
            return
        call("POST", path, {"context_percent": context_percent(hook)})
        self.known["heartbeat_at"] = time.time()
        self.save()

    def log(self, hook):
        tool = str(hook.get("tool_name") or "tool")
        given = hook.get("tool_input")
        result = hook.get("tool_response")
        failed = isinstance(result, dict) and (result.get("is_error") or result.get("error"))
        call("POST", f"/v1/sessions/{self.instance(hook)}/commands", {
            "action": tool[:200],
            "details": {
                "description": describe(tool, given),
                "parameters": {"tool_name": tool, "input": cut(given)},
                "result": {"success": not failed, "output": cut(result)},
            },
        })

    def checkpoint(self, hook):
        call("POST", f"/v1/sessions/{self.instance(hook)}/checkpoints", {
            "checkpoint_type": "context_window",
            "context_window_percent": context_percent(hook),
            "note": "the context was about to be compacted",
        })

    def close(self, hook):
        if "instance_id" in self.known:
            reason = hook.get("reason") or "the session ended"
            call("POST", f"/v1/sessions/{self.instance(hook)}/close", {"reason": str(reason)[:500]})
        self.file.unlink(missing_ok=True)


def describe(tool, given):
    if isinstance(given, dict):
        for name in ("description", "command", "file_path", "path", "pattern", "url", "query"):
            if isinstance(given.get(name), str):
                return given[name][:TEXT_CHARS_MAX]
    return tool


def cut(value):
    """Keeps what is sent small; the server takes the secrets out, and cuts again."""
    text = json.dumps(value, default=str)
    if len(text) <= TEXT_CHARS_MAX:
        return json.loads(text)
    return text[: TEXT_CHARS_MAX // 2] + " … " + text[-TEXT_CHARS_MAX // 2 :]


def context_percent(hook):
    """Reads from the transcript how many tokens the last answer of the model had before it."""
    size = float(os.environ.get("FACTUM_CONTEXT_TOKENS", "200000"))
    used = 0
    try:
        with open(hook["transcript_path"], "rb") as transcript:
            transcript.seek(0, os.SEEK_END)
            transcript.seek(max(0, transcript.tell() - TRANSCRIPT_TAIL_BYTES))
            lines = transcript.read().splitlines()
    except (KeyError, OSError, TypeError):
        lines = []
    for line in reversed(lines):
        try:
            usage = json.loads(line)["message"]["usage"]
            names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
            used = sum(int(usage.get(name) or 0) for name in names)
            break
        except (ValueError, KeyError, TypeError):
            continue
    return round(min(100.0, max(0.0, 100.0 * used / size)), 1)


def act(session, hook):
    event = hook.get("hook_event_name")
    if event == "SessionEnd":
        session.close(hook)
    elif event == "PreCompact":
        session.checkpoint(hook)
    elif event == "PostToolUse":
        session.log(hook)
        session.heartbeat(hook)
    else:
        session.heartbeat(hook, force=event in ("SessionStart", "Stop"))


def main():
    hook = json.load(sys.stdin)
    session = Session(hook)
    try:
        act(session, hook)
    except Gone:
        # Somebody closed the instance, or the server is another one: this is a new one then.
        session.known = {}
        if hook.get("hook_event_name") != "SessionEnd":
            act(session, hook)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # pylint: disable=broad-except
        if os.environ.get("FACTUM_HOOK_DEBUG"):
            print(f"factum_agent_hook: {error!r}", file=sys.stderr)
    sys.exit(0)
