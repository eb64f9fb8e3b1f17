"""Uses the tools as an agent does, with the official SDK, over one transport and one lifecycle.

Usage: agent.py http URL KEY MODE | agent.py stdio MODE COMMAND…
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

TOOLS = 28


async def call(client, tool, arguments=None, refused=False):
    """Calls a tool; the SDK checks what is structured against the output schema."""
    result = await client.call_tool(tool, arguments or {})
    assert result.is_error == refused, (tool, arguments, result)
    assert result.content[0].text, tool
    return result.content[0].text if refused else result.structured_content


async def sessions(client):
    made = await call(client, "mcp_meta_register_instance", {"project": "python", "instance_type": "PS"})
    instance = {"instance_id": made["instance_id"]}
    await call(client, "mcp_meta_heartbeat", {**instance, "context_percent": 50, "current_epic": "epic-1"})
    epic = {"epic_id": "epic-1", "feature_name": "login", "estimated_hours": 2, "spawned_by": "ann"}
    emitted = await call(client, "mcp_meta_emit_event", {**instance, "event_type": "epic_started", "event_data": epic})
    await call(client, "mcp_meta_log_command", {**instance, "action": "Bash", "details": {"description": "make test"}})
    made = await call(client, "mcp_meta_create_checkpoint", {**instance, "checkpoint_type": "manual", "note": "half way"})
    checkpoint = await call(client, "mcp_meta_get_checkpoint", {"checkpoint_id": made["checkpoint_id"]})
    assert "epic-1" in checkpoint["recovery_instructions"]
    listed = await call(client, "mcp_meta_list_instances", {"project": "python"})
    assert listed["total_count"] >= 1
    details = await call(client, "mcp_meta_get_instance_details", instance)
    assert details["instance"]["current_epic"] == "epic-1"
    await call(client, "mcp_meta_list_stale_instances")
    await call(client, "mcp_meta_search_commands", instance)
    await call(client, "mcp_meta_query_events", {**instance, "filters": {"event_type": "epic_started"}})
    await call(client, "mcp_meta_replay_events", instance)
    types = await call(client, "mcp_meta_list_event_types")
    assert types["total_count"] == 23
    await call(client, "mcp_meta_get_event_aggregates", instance)
    await call(client, "mcp_meta_get_latest_events", instance)
    await call(client, "mcp_meta_get_event_tree", {"event_id": emitted["event_id"]})
    await call(client, "mcp_meta_get_parent_chain", {"event_id": emitted["event_id"]})
    await call(client, "mcp_meta_list_checkpoints", instance)
    active = await call(client, "mcp_meta_resume_instance", {"instance_id_hint": instance["instance_id"]}, refused=True)
    assert active.startswith("InstanceActive"), active
    resumed = await call(client, "mcp_meta_resume_instance", {"instance_id_hint": instance["instance_id"], "force": True})
    assert resumed["outcome"] == "resumed" and resumed["confidence_score"] == 100
    uri = f"factum://sessions/{instance['instance_id']}"
    listed = {str(resource.uri) for resource in (await client.list_resources()).resources}
    assert uri in listed, listed
    read = await client.read_resource(uri)
    assert json.loads(read.contents[0].text)["instance"]["instance_id"] == instance["instance_id"]
    prompt = await client.get_prompt("recover_session", {"hint": instance["instance_id"]})
    assert "mcp_meta_resume_instance" in prompt.messages[0].content.text
    await call(client, "mcp_meta_close_instance", instance)


async def events(client):
    begin = await call(client, "factum_tail")
    event = {"type": "order.placed", "aggregateType": "order", "aggregateId": "o-1", "payload": {"amount": 12.5}}
    receipt = await call(client, "factum_append", {"events": [event]})
    id = receipt["events"][0]["id"]
    tail = await call(client, "factum_tail", {"cursor": begin["cursor"], "q": "type:order.*", "waitSeconds": 5})
    assert id in [event["id"] for event in tail["events"]]
    assert (await call(client, "factum_get", {"id": id}))["event"]["payload"] == {"amount": 12.5}
    await call(client, "factum_read", {"aggregateId": "o-1"})
    await call(client, "factum_explain", {"id": id})
    page = await call(client, "factum_query", {"filter": {"eventTypes": ["order.>"]}, "sort": "desc", "limit": 1, "totalCount": True})
    assert page["events"][0]["id"] == id
    counts = await call(client, "factum_count", {"by": "eventType"})
    assert counts["total"] >= 1
    refused = await call(client, "factum_append", {"events": [{**event, "expectedVersion": "noStream"}]}, refused=True)
    assert refused.startswith("version_conflict"), refused


async def work(client, tools):
    listed = (await client.list_tools()).tools
    assert len(listed) == tools, [tool.name for tool in listed]
    await events(client)
    await sessions(client)
    print(f"{len(listed)} tools over {client.session.protocol_version}")


async def main(arguments):
    if arguments[0] == "http":
        _, url, key, mode = arguments
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(headers=headers) as http:
            async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
                await work(client, TOOLS)
    else:
        _, mode, command, *rest = arguments
        async with Client(StdioServerParameters(command=command, args=rest), mode=mode) as client:
            # The key of an administrator is not used over standard input without being asked.
            offered = TOOLS if "--url" in rest else TOOLS - 1
            await work(client, offered)


asyncio.run(main(sys.argv[1:]))
