//! The kinds of records.

use crate::template::named;

named! {
    /// One template each.
    Kind {
        AgentFinish = "agent_finish", AgentStart = "agent_start", ApiError = "api_error",
        ApiRequest = "api_request", ApiResponseJson = "api_response_json",
        ApiResponseText = "api_response_text", ApiResponseTool = "api_response_tool",
        ApprovalModeDuration = "approval_mode_duration", ApprovalModeSwitch = "approval_mode_switch",
        ChatCompression = "chat_compression", Config = "config", ConsecaVerdict = "conseca_verdict",
        ContentRetry = "content_retry", ContentRetryFailure = "content_retry_failure",
        ConversationFinished = "conversation_finished", EditCorrection = "edit_correction",
        EditStrategy = "edit_strategy", ExtensionEnable = "extension_enable",
        ExtensionInstall = "extension_install", FileOperation = "file_operation",
        FlashFallback = "flash_fallback", HookAfterTool = "hook_after_tool",
        HookBeforeTool = "hook_before_tool", HookSessionStart = "hook_session_start",
        IdeConnection = "ide_connection", InvalidChunk = "invalid_chunk", LlmLoopCheck = "llm_loop_check",
        LoopDetected = "loop_detected", MalformedJsonResponse = "malformed_json_response",
        ModelRouting = "model_routing", NetworkRetry = "network_retry",
        NextSpeakerCheck = "next_speaker_check", PlanExecution = "plan_execution",
        RipgrepFallback = "ripgrep_fallback", SlashCommand = "slash_command",
        SlashCommandModel = "slash_command_model", StartupStats = "startup_stats",
        ToolCall = "tool_call", ToolOutputTruncated = "tool_output_truncated", TwinError = "twin_error",
        TwinRequest = "twin_request", TwinRequestJson = "twin_request_json",
        TwinResponse = "twin_response", TwinResponseJson = "twin_response_json",
        UserPrompt = "user_prompt", WebFetchFallback = "web_fetch_fallback",
    }
}
