#!/usr/bin/env python3
"""Makes crates/generate/src/templates.json from recorded telemetry.

What `millrace generate` writes is spliced from these templates: one for each kind of record that the
recordings hold, with slots («model», «duration», ...) where records of a kind differ. Standard input is
the raw table after `millrace send testdata/gemini-cli/otlp_grpc ...` (see docs/generate.md):

    millrace query --format ndjson 'SELECT * FROM telemetry.gemini_raw_logs' \
        | scripts/make_templates.py > crates/generate/src/templates.json

The output depends on the recordings alone, so running it again changes nothing.
"""

import collections
import json
import re
import sys

COMMON = {
    "installation.id", "interactive", "user.email", "auth_type", "event.name", "event.timestamp", "message",
    "host.name", "host.arch", "process.pid", "process.executable.name", "process.executable.path",
    "process.command_args", "process.runtime.version", "process.runtime.name",
    "process.runtime.description", "process.command", "process.owner", "service.name", "service.version",
    "session.id", "team.name", "deployment.environment",
}
# Sent only when the user lets prompts be logged.
GATED = {
    "prompt", "request_text", "response_text", "function_args", "hook_input", "hook_output", "stdout",
    "stderr", "user_prompt", "trusted_content", "policy", "tool_call", "verdict_rationale",
}

# Where the recorded user lived.
HOME = "/".join(["", "home", "dev"])
# What every record of a session shares, wherever it stands in a text.
EVERYWHERE = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "«session»"),
    (r"session-20\d\d-\d\d-\d\dT\d\d-\d\d-[0-9a-f]{8}", "session-«chat»"),
    (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ", "«time»"),
    (r"Sunday, November 22, 2026", "«date»"),
    (HOME + "/shopcart", "«workspace»"),
    (r"/tmp/shopcart", "/tmp/«project»"),
    (HOME + r"\b", "«home»"),
    (r"dev@example\.com", "«email»"),
    (r"Please work on the cart\. scenario:\w+", "«prompt»"),
    (r"resp-\d{6}", "«response_id»"),
]

# By attribute: what its value becomes, as JSON text.
API = {
    "model": '"«model»"', "prompt_id": '"«prompt_id»"', "role": '"«role»"', "duration_ms": "«duration»",
    "input_token_count": "«input»", "output_token_count": "«output»",
    "cached_content_token_count": "«cached»", "thoughts_token_count": "«thoughts»",
    "total_token_count": "«total»", "request_text": '"«request_text»"',
}
TWIN = {
    "gen_ai.request.model": '"«model»"', "gen_ai.response.model": '"«model»"',
    "gen_ai.usage.input_tokens": "«input»", "gen_ai.usage.output_tokens": "«output»",
    "gen_ai.system_instructions": '"«system»"', "gen_ai.response.id": '"«response_id»"',
    "gen_ai.response.finish_reasons": '["stop"]',
}
ERROR = {
    **API, "error.message": '"«api_error»"', "error": '"«api_error»"', "model_name": '"«model»"',
    "duration": "«duration»", "status_code": "«status»", "http.status_code": "«status»",
}
MODE = {"mode": '"«mode»"', "from_mode": '"«from_mode»"', "to_mode": '"«mode»"', "approval_mode": '"«mode»"',
        "approvalMode": '"«mode»"'}
RULES = {
    "config": {
        **MODE, "model": '"«config_model»"', "sandbox_enabled": "«sandbox»", "api_key_enabled": "«api_key»",
        "vertex_ai_enabled": "«vertex»", "log_user_prompts_enabled": "«log_prompts»",
        "mcp_servers": '"«mcp_servers»"', "mcp_servers_count": "«mcp_servers_count»",
        "extensions": '"«extensions»"', "extensions_count": "«extensions_count»",
        "extension_ids": '"«extension_ids»"', "output_format": '"«output_format»"',
    },
    "startup_stats": {"os_platform": '"«os»"', "os_release": '"«os_release»"', "is_docker": "«docker»"},
    "user_prompt": {"prompt_length": "«prompt_length»", "prompt_id": '"«prompt_id»"', "prompt": '"«prompt»"'},
    "model_routing": {
        **MODE, "decision_model": '"«model»"', "decision_source": '"«routing_source»"',
        "routing_latency_ms": "«routing_latency»", "failed": "«routing_failed»",
        "reasoning": '"«routing_reason»"',
    },
    "api_request": API, "api_response_tool": API, "api_response_text": API, "api_response_json": API,
    "twin_request": TWIN, "twin_response": TWIN, "twin_request_json": TWIN, "twin_response_json": TWIN,
    "api_error": ERROR, "twin_error": TWIN,
    "hook_session_start": {"duration_ms": "«hook_duration»"},
    "hook_before_tool": {"duration_ms": "«hook_duration»"},
    "hook_after_tool": {"duration_ms": "«hook_duration»", "hook_name": '"«home»/hooks/audit.sh --project=«project»"'},
    "tool_call": {
        "function_name": '"«tool»"', "duration_ms": "«tool_duration»", "success": "«success»",
        "decision": '"«decision»"', "prompt_id": '"«prompt_id»"', "tool_type": '"«tool_type»"',
        "content_length": "«content_length»", "function_args": '"«args_pretty»"',
    },
    "file_operation": {
        "tool_name": '"«tool»"', "operation": '"«operation»"', "lines": "«file_lines»",
        "mimetype": '"«mimetype»"', "extension": '"«extension»"', "programming_language": '"«language»"',
    },
    "edit_strategy": {"strategy": '"«edit_strategy»"'},
    "next_speaker_check": {"prompt_id": '"«prompt_id»"'},
    "approval_mode_duration": {**MODE, "duration_ms": "«extra».«fraction»"},
    "approval_mode_switch": MODE,
    "malformed_json_response": {"model": '"«model»"'},
    "content_retry": {
        "attempt_number": "«extra»", "error_type": '"«retry_type»"', "retry_delay_ms": "«retry_delay»",
        "model": '"«model»"',
    },
    "content_retry_failure": {"final_error_type": '"«retry_type»"', "model": '"«model»"'},
    "conversation_finished": {**MODE, "turnCount": "«extra»"},
    "slash_command": {"command": '"«slash_command»"', "status": '"«slash_status»"'},
    "loop_detected": {},
    "llm_loop_check": {"main_model": '"«model»"', "flash_confidence": "0.«extra»"},
    "agent_start": {"agent_id": '"«agent_id»"'},
    "agent_finish": {"agent_id": '"«agent_id»"', "duration_ms": "«tool_duration»", "turn_count": "«int:2-14»"},
    "web_fetch_fallback": {"reason": '"«web_fetch_reason»"'},
    "tool_output_truncated": {"original_content_length": "«int:41000-900000»", "prompt_id": '"«prompt_id»"'},
    "plan_execution": MODE,
    "edit_correction": {},
    "conseca_verdict": {},
    "ripgrep_fallback": {},
}
MESSAGES = {
    "twin_error": "GenAI operation error details from «model». Error: «api_error». Duration: «duration»ms.",
    "api_error": "API error for «model». Error: «api_error». Duration: «duration»ms.",
    "user_prompt": "User prompt. Length: «prompt_length».",
    "model_routing": "Model routing decision. Model: «model», Source: «routing_source»",
    "tool_call": "Tool call: «tool».«decision_said» Success: «success». Duration: «tool_duration»ms.",
    "file_operation": "File operation: «operation». Lines: «file_lines».",
    "edit_strategy": "Edit Tool Strategy: «edit_strategy»",
    "approval_mode_duration": "Approval mode «mode» was active for «extra».«fraction»ms.",
    "approval_mode_switch": "Approval mode switched from «from_mode» to «mode».",
    "plan_execution": "Plan executed with approval mode: «mode»",
    "content_retry": "Content retry attempt «extra» due to «retry_type».",
    "slash_command": "Slash command: «slash_command».",
    "agent_start": "Agent codebase_investigator started. ID: «agent_id»",
    "agent_finish": "Agent codebase_investigator finished. Reason: GOAL. Duration: «tool_duration»ms.",
    "web_fetch_fallback": "Web fetch fallback attempt. Reason: «web_fetch_reason»",
    "llm_loop_check": "LLM loop check. Flash confidence: 0.«extra». Main model («model») check skipped",
    "hook_session_start": "Hook call SessionStart.hello succeeded in «hook_duration»ms",
    "hook_before_tool": "Hook call BeforeTool.policy-check succeeded in «hook_duration»ms",
    "hook_after_tool": "Hook call AfterTool.«home»/hooks/audit.sh --project=«project» succeeded in «hook_duration»ms",
}
# The arguments of each recorded tool, with what differs from call to call.
ARGUMENTS = {
    "list_directory": {"dir_path": "«workspace»/«folder»"},
    "read_file": {"file_path": "«workspace»/«path»"},
    "grep_search": {"pattern": "«identifier»", "dir_path": "«workspace»"},
    "glob": {"pattern": "«glob»", "dir_path": "«workspace»"},
    "write_file": {"file_path": "«workspace»/«path»", "content": "«code:2-10»"},
    "replace": {"file_path": "«workspace»/«path»", "instruction": "«words:4-9»", "old_string": "«code:1-3»",
                "new_string": "«code:1-3»"},
    "run_shell_command": {"command": "«command»", "description": "«words:2-5»"},
    "write_todos": {"todos": [{"description": "«words:2-5»", "status": "completed"},
                              {"description": "«words:2-5»", "status": "in_progress"}]},
    "mcp_inventory_stock_level": {"sku": "«sku»"},
    "mcp_inventory_reserve": {"sku": "«sku»", "qty": "«#int:1-9»"},
    "invoke_agent": {"agent_name": "codebase_investigator", "prompt": "«words:8-20»"},
    "web_fetch": {"prompt": "Summarise https://«host»/«path»"},
    "google_web_search": {"query": "«words:3-7»"},
    "enter_plan_mode": {"reason": "«words:3-8»"},
    "exit_plan_mode": {"plan_filename": "«identifier».md", "plan_path": "«identifier».md"},
}
# What each answers, in the CLI's recorded phrases.
ANSWERS = {
    "list_directory": "Directory listing for «workspace»/«folder»:\n[DIR] «folder»\n[DIR] «folder»\n«listing:2-9»\n(1 ignored)",
    "read_file": "«code:4-18»",
    "grep_search": "Found 1 match for pattern «identifier» in path «workspace»:\n---\nFile: «path»\n«code:2-6»\n---",
    "glob": "Found 3 file(s) matching «glob» within «workspace», sorted by modification time (newest first):\n«listing:3-8»",
    "write_file": "Successfully created and wrote to new file: «workspace»/«path». Here is the updated code:\n«code:2-10»",
    "replace": "Successfully modified file: «workspace»/«path» (1 replacements). Here is the updated code:\n«code:3-9»\n...",
    "run_shell_command": "<untrusted_context>\nOutput: «tool_output»\nProcess Group PGID: «int:10000-99999»\n</untrusted_context>",
    "write_todos": "Successfully updated the todo list. The current list is now:\n1. [completed] «words:2-5»\n2. [in_progress] «words:2-5»",
    "invoke_agent": "Subagent 'codebase_investigator' finished.\nTermination Reason: GOAL\nResult:\n«words:20-60»",
    "enter_plan_mode": "Switching to Plan mode.",
    "exit_plan_mode": "Plan approved. Switching to YOLO mode (all tool calls auto-approved).",
}
FALLBACK_ANSWER = "<untrusted_context>\n«words:5-30»\n</untrusted_context>"


def main():
    entries = sorted((entry(line) for line in sys.stdin), key=lambda e: (e["payload"]["event.name"], e["time"]))
    if any("«" in json.dumps(e["payload"], ensure_ascii=False) for e in entries):
        sys.exit("error: the recordings hold the slot mark «; choose another")
    kinds = collections.defaultdict(list)
    for e in entries:
        kinds[kind_of(e["payload"])].append(e)
    unknown = set(kinds) - set(RULES)
    unknown.discard("conseca_policy")
    if unknown:
        sys.exit(f"error: no rules for recorded kinds {sorted(unknown)}")
    result = {
        "source": "made by scripts/make_templates.py; do not edit",
        "recorded": {"records": len(entries), "bytes_mean": mean(entries)},
        "mix": mix(entries),
        "kinds": {kind: template(kind, kinds[kind]) for kind in sorted(kinds) if kind in RULES},
        "tools": tools(kinds["tool_call"]),
        "failures": failures(kinds["tool_call"]),
        "api_errors": api_errors(kinds["api_error"]),
        "texts": texts(entries, kinds),
    }
    json.dump(result, sys.stdout, ensure_ascii=False, indent=1)
    sys.stdout.write("\n")


def entry(line):
    row = json.loads(line)
    whole = {name: row[name] for name in ("logName", "receiveTimestamp", "timestamp", "insertId", "trace", "spanId")
             if row[name] is not None}
    whole["resource"] = json.loads(row["resource_json"])
    whole["jsonPayload"] = json.loads(row["jsonPayload_json"])
    return {"payload": whole["jsonPayload"], "time": row["timestamp"], "trace": row["trace"] is not None,
            "bytes": len(compact(whole).encode()) + 1}


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def mean(entries):
    return round(sum(e["bytes"] for e in entries) / len(entries))


def mix(entries):
    """How often each event was recorded, and what it weighs."""
    groups = collections.defaultdict(list)
    for e in entries:
        groups[e["payload"]["event.name"]].append(e)
    rows = [{"event": name, "records": len(group), "bytes_mean": mean(group)} for name, group in groups.items()]
    return sorted(rows, key=lambda row: (-row["records"], row["event"]))


def kind_of(payload):
    name = payload["event.name"]
    if name == "gen_ai.client.inference.operation.details":
        suffix = "_json" if payload.get("gen_ai.output.type") else ""
        if "gen_ai.usage.input_tokens" in payload:
            return "twin_response" + suffix
        return "twin_error" if "gen_ai.response.model" in payload else "twin_request" + suffix
    if name == "gemini_cli.api_response":
        if payload["role"].startswith("utility"):
            return "api_response_json"
        return "api_response_tool" if "functionCall" in payload.get("response_text", "functionCall") else "api_response_text"
    if name == "gemini_cli.hook_call":
        return "hook_" + re.sub(r"(?<!^)(?=[A-Z])", "_", payload["hook_event_name"]).lower()
    short = {"plan.approval_mode_duration": "approval_mode_duration", "plan.execution": "plan_execution",
             "plan.approval_mode_switch": "approval_mode_switch", "chat.content_retry": "content_retry",
             "chat.content_retry_failure": "content_retry_failure", "agent.start": "agent_start",
             "agent.finish": "agent_finish", "web_fetch_fallback_attempt": "web_fetch_fallback",
             "conseca.verdict": "conseca_verdict", "conseca.policy_generation": "conseca_policy"}
    name = name.removeprefix("gemini_cli.")
    return short.get(name, name)


def template(kind, group):
    # Of several attribute sets the richest stands for all: what is absent without prompts is marked.
    chosen = max(group, key=lambda e: (e["payload"].get("role") != "utility_edit_corrector", len(e["payload"])))
    payload = chosen["payload"]
    attributes = []
    for name, value in payload.items():
        if name in COMMON or (kind == "tool_call" and name in
                              ("metadata", "error", "error.message", "error_type", "error.type", "mcp_server_name")):
            continue
        item = {"name": name, "json": attribute(kind, name, value, payload)}
        if name in GATED:
            item["when"] = "prompts"
        if kind == "tool_call" and name in ("decision", "content_length"):
            item["when"] = name
        attributes.append(item)
    if kind == "tool_call":
        attributes[-1:-1] = [{"name": "mcp_server_name", "json": '"«mcp_server»"', "when": "mcp"}]
        attributes.append({"name": "metadata", "json": '"«metadata»"', "when": "metadata"})
        for name, json_text in (("error", '"«tool_error»"'), ("error.message", '"«tool_error»"'),
                                ("error_type", '"«tool_error_type»"'), ("error.type", '"«tool_error_type»"')):
            attributes.append({"name": name, "json": json_text, "when": "failed"})
    message = MESSAGES.get(kind) or everywhere(payload["message"], payload)
    traced = sum(e["trace"] for e in group)
    return {"event": payload["event.name"], "traced_percent": round(100 * traced / len(group)),
            "attributes": attributes, "message": message}


def attribute(kind, name, value, payload):
    rule = RULES[kind].get(name)
    if rule is not None:
        return rule
    if name == "phases":
        value = re.sub(r'("(?:start|end)_time_usec":)\d+', r"\1«usec»", value)
        value = re.sub(r'(_usec":|duration_ms":)(\d+)', lambda m: f"{m[1]}«digits:{len(m[2])}»", value)
    if name == "hook_input":
        value = hook_input(value)
    if name == "response_text":
        return compact(response_text(value))
    if isinstance(value, str):
        value = everywhere(value, payload)
    return compact(value)


def hook_input(text):
    body = json.loads(text)
    if "tool_name" in body:
        body.update(tool_name="«tool»", tool_input="«#args_nested»")
    if "tool_response" in body:
        body["tool_response"] = {"llmContent": "«tool_answer»", "returnDisplay": "«tool_output»"}
    return unquote(json.dumps(body, ensure_ascii=False, indent=2))


def response_text(text):
    body = json.loads(text)
    for chunk in body if isinstance(body, list) else [body]:
        for candidate in chunk["candidates"]:
            for part in candidate["content"]["parts"]:
                if "functionCall" in part:
                    part["functionCall"] = {"id": "«tool»__call_«tool»_«call»", "name": "«tool»",
                                            "args": "«#args_compact»"}
                elif part.get("thought"):
                    part["text"] = "«words:5-30»"
                elif isinstance(body, list):
                    part["text"] = "«words:20-90»"
                else:
                    part["text"] = re.sub(r"n/a \(fake model\)", "«words:8-25»", part["text"])
        usage = chunk.get("usageMetadata")
        if usage:
            usage.update(promptTokenCount="«#input»", candidatesTokenCount="«#output»",
                         cachedContentTokenCount="«#cached»", thoughtsTokenCount="«#thoughts»",
                         totalTokenCount="«#total»",
                         promptTokensDetails=[{"modality": "TEXT", "tokenCount": "«#input»"}])
        chunk["responseId"] = "«response_id»"
        chunk["modelVersion"] = "«model»"
    return unquote(compact(body))


def unquote(text):
    """Slots that stand for numbers and objects lose the quotes that kept the JSON valid."""
    return re.sub(r'"«#([^»]*)»"', r"«\1»", text)


def everywhere(text, payload):
    for pattern, slot in EVERYWHERE:
        text = re.sub(pattern, slot, text)
    for name in ("model", "gen_ai.request.model", "decision_model"):
        model = payload.get(name)
        if model:
            text = text.replace(model, "«model»")
    if "duration_ms" in payload or "gen_ai.usage.input_tokens" in payload:
        text = re.sub(r"Duration: \d+ms", "Duration: «duration»ms", text)
    return text


def tools(calls):
    """The recorded tools: how often, with which arguments, answering what."""
    counts = collections.Counter(e["payload"]["function_name"] for e in calls)
    kinds = {e["payload"]["function_name"]: e["payload"] for e in calls}
    metadata = {e["payload"]["function_name"] for e in calls
                if "added_lines" in e["payload"].get("metadata", "")}
    lines = next(e["payload"]["metadata"] for e in calls if "added_lines" in e["payload"].get("metadata", ""))
    lines = re.sub(r'(model_\w+_lines": )\d+', r"\1«int:0-60»", lines)
    lines = re.sub(r'(model_\w+_chars": )\d+', r"\1«int:0-2400»", lines)
    lines = re.sub(r'(user_\w+": )\d+', r"\1«user_lines»", lines)
    rows = []
    for name, args in ARGUMENTS.items():
        if name not in counts:
            sys.exit(f"error: tool {name} is not in the recordings")
        rows.append({"name": name, "calls": counts[name], "type": kinds[name]["tool_type"],
                     "server": kinds[name].get("mcp_server_name", ""), "args": args,
                     "answer": ANSWERS.get(name, FALLBACK_ANSWER), "metadata": lines if name in metadata else ""})
    return rows


def failures(calls):
    """The recorded ways in which a tool call failed."""
    found = {}
    for e in calls:
        payload = e["payload"]
        if payload["success"]:
            continue
        text = everywhere(payload["error"], {})
        text = text.replace("does/not/exist.ts", "«path»").replace("A-17", "«sku»").replace('"qty":3', '"qty":«int:1-9»')
        text = re.sub(r"http://127\S+, \[Blocked Host\] \S+", "https://«host»/«path»", text)
        row = found.setdefault((payload["function_name"], text), {
            "name": payload["function_name"], "type": payload["tool_type"], "error": text, "calls": 0,
            "error_type": payload["error_type"], "server": payload.get("mcp_server_name", ""),
            "decided": "decision" in payload, "args": ARGUMENTS.get(payload["function_name"], {"input": "«words:2-6»"})})
        row["calls"] += 1
    return [found[key] for key in sorted(found)]


def api_errors(group):
    found = collections.Counter((e["payload"]["status_code"], e["payload"]["error"]) for e in group)
    return [{"status": status, "error": text, "records": count} for (status, text), count in sorted(found.items())]


def texts(entries, kinds):
    systems = {}
    for e in kinds["twin_request"]:
        text = e["payload"]["gen_ai.system_instructions"]
        name = "subagent" if "Codebase Investigator" in text else "main"
        if "Assistant rules" in text or name == "subagent":
            systems[name] = text
    requests = [e["payload"]["request_text"] for e in kinds["api_request"]
                if e["payload"].get("role") == "main" and "request_text" in e["payload"]]
    first = json.loads(min(requests, key=len))[0]["parts"][0]["text"]
    check = next(r for r in (json.loads(e["payload"]["request_text"])[-1]["parts"][0].get("text", "")
                             for e in kinds["api_request"] if e["payload"].get("role") == "utility_next_speaker"
                             and "request_text" in e["payload"]) if r.startswith("Analyze"))
    return {"system": {name: systems[name] for name in sorted(systems)}, "session_context": everywhere(first, {}),
            "next_speaker": check, "words": words(entries)}


def words(entries):
    """The words of the recorded prose (tool descriptions, rules, answers), most frequent first."""
    seen, counts = set(), collections.Counter()
    for e in entries:
        for name in ("trusted_content", "gen_ai.system_instructions", "request_text", "response_text"):
            for text in re.split(r"\\n|\n", e["payload"].get(name, "")):
                if text not in seen and "ipsum" not in text and not text.startswith("step "):
                    seen.add(text)
                    counts.update(re.findall(r"(?<![\w/.])[A-Za-z][a-z]{0,15}[.,;:]?(?= )", text))
    counts = [(word, count) for word, count in counts.items() if count > 1]
    counts.sort(key=lambda item: (-item[1], item[0]))
    return [word for word, _ in counts[:1500]]


if __name__ == "__main__":
    main()
