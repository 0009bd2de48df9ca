# An MCP server on standard input and output that misbehaves as its caller asks (`{"do": …}`). What it hears goes to $LOG.
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$1" "$2"; }
text() { answer "$1" "{\"content\":[{\"type\":\"text\",\"text\":\"$2\"}]}"; }
schema='{"type":"object","properties":{"do":{"type":"string"}}}'
words='Does it.'
while read -r line; do
  printf '%s\n' "$line" >> "$LOG"
  id=${line##*\"id\":}; id=${id%%[,\}]*}
  case "$line" in
    *'"method":"initialize"'*)
      answer "$id" '{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"fake","version":"1"}}' ;;
    *'"method":"tools/list"'*)
      tool() { printf '{"name":"%s","description":"%s","inputSchema":%s%s}' "$1" "$words" "$schema" "$2"; }
      answer "$id" "{\"tools\":[$(tool act ''),$(tool look ',"annotations":{"readOnlyHint":true}'),$(tool set ',"annotations":{"idempotentHint":true}')]}" ;;
    *'"method":"notifications/cancelled"'*)
      cancelled=1; [ -z "$waiting" ] || text "$waiting" 'it was' ;;
    *'"do":"die"'*) exit 1 ;;
    *'"do":"nothing"'*) ;;
    *'"do":"tell whether it was cancelled"'*) if [ -n "$cancelled" ]; then text "$id" 'it was'; else waiting=$id; fi ;;
    *'"do":"fail"'*) answer "$id" '{"content":[{"type":"text","text":"no such order"}],"isError":true}' ;;
    *'"do":"refuse"'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"not like this"}}\n' "$id" ;;
    *'"do":"talk"'*) text "$id" "$(printf '%0200000d' 0)" ;;
    *'"do":"change"'*)
      words='Does it better.'; printf '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'; text "$id" 'changed' ;;
    *'"method":"tools/call"'*) text "$id" "$$" ;;
  esac
done
