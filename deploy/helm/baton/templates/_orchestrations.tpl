{{/*
The orchestrations as the other templates need them, as JSON:
[{name, text, files: {path: text}, workers: [{orchestration, agent, name, concurrency, replicas | scaling, own}]}].
Everything that would make Kubernetes or KEDA misunderstand a manifest is refused here; what Baton thinks of it,
`baton validate` says, and a coordinator before it is ready.
*/}}
{{- define "baton.orchestrations" -}}
{{- $all := list -}}
{{- $taken := dict -}}
{{- if not .Values.orchestrations -}}
{{- fail "orchestrations: name at least one, as in --set-file orchestrations.support.manifest=support.yaml" -}}
{{- end -}}
{{- range $name, $given := .Values.orchestrations -}}
{{- $at := printf "orchestrations.%s" $name -}}
{{- $manifest := $given.manifest -}}
{{- $text := $manifest -}}
{{- if kindIs "string" $manifest -}}
{{- $manifest = fromYaml $manifest -}}
{{- with $manifest.Error }}{{ fail (printf "%s.manifest is not YAML: %s" $at .) }}{{ end -}}
{{- else -}}
{{- $text = toYaml $manifest -}}
{{- end -}}
{{- $named := ($manifest.metadata | default dict).name -}}
{{- if ne (toString $named) $name -}}
{{- fail (printf "%s: its manifest's metadata.name is %q; give both the same name" $at (toString $named)) -}}
{{- end -}}
{{- include "baton.checkLabel" (list $at $name) -}}
{{- $workers := list -}}
{{- $agents := list -}}
{{- range $key, $agent := ($manifest.spec | default dict).agents -}}
{{- $agentName := include "baton.agentName" $key -}}
{{- $agents = append $agents $agentName -}}
{{- include "baton.checkLabel" (list (printf "%s: agent %s" $at $key) $agentName) -}}
{{- $workload := printf "%s-%s-%s" (include "baton.fullname" $) $name $agentName | include "baton.checkName" -}}
{{- $whose := printf "agent %s of %s" $agentName $name -}}
{{- if hasKey $taken $workload -}}
{{- fail (printf "%s and %s would share the Deployment %q: rename one of them" (get $taken $workload) $whose $workload) -}}
{{- end -}}
{{- $_ := set $taken $workload $whose -}}
{{- $own := get ($given.agents | default dict) $agentName | default dict -}}
{{- $runs := ($agent | default dict).worker | default dict -}}
{{- $worker := dict "orchestration" $name "agent" $agentName "name" $workload "own" $own -}}
{{- with $runs.concurrency }}{{ $_ := set $worker "concurrency" . }}{{ end -}}
{{- if and $.Values.keda.enabled $runs.scaling (not (hasKey $own "replicas")) -}}
{{- $scaling := $runs.scaling -}}
{{- if not (and (hasKey $scaling "min") (hasKey $scaling "max")) -}}
{{- fail (printf "%s: agent %s: worker.scaling needs min and max" $at $agentName) -}}
{{- end -}}
{{- $_ := set $worker "scaling" (merge (dict) $scaling (dict "backlogPerReplica" $.Values.keda.backlogPerReplica)) -}}
{{- else -}}
{{- $_ := set $worker "replicas" (ternary $own.replicas $.Values.worker.replicas (hasKey $own "replicas")) -}}
{{- end -}}
{{- $workers = append $workers $worker -}}
{{- end -}}
{{- range $agent, $_ := $given.agents -}}
{{- if not (has $agent $agents) -}}
{{- fail (printf "%s.agents.%s: the manifest has no such agent; it has %s" $at $agent (join ", " $agents)) -}}
{{- end -}}
{{- end -}}
{{- if not $workers -}}{{ fail (printf "%s: its manifest has no agents" $at) }}{{ end -}}
{{- $all = append $all (dict "name" $name "text" $text "files" ($given.files | default dict) "workers" $workers) -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/* An agent's name as the manifest's keys mean it: `OrderStatusAgent` is `order-status-agent`. */}}
{{- define "baton.agentName" -}}
{{- $words := regexReplaceAll "([a-z0-9])([A-Z])" (trim .) "${1}-${2}" -}}
{{- $words = regexReplaceAll "([A-Z])([A-Z][a-z])" $words "${1}-${2}" -}}
{{- regexReplaceAll "[\\s_.-]+" $words "-" | lower | trimAll "-" -}}
{{- end -}}

{{- define "baton.checkLabel" -}}
{{- $name := last . -}}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" $name) -}}
{{- fail (printf "%s: %q cannot name pods: use 1 to 63 of a-z, 0-9 and '-', no '-' at either end" (first .) $name) -}}
{{- end -}}
{{- end -}}

{{/* The key of a file in a ConfigMap, where keys hold no '/'. */}}
{{- define "baton.fileKey" -}}
{{- replace "/" "__" . -}}
{{- end -}}

{{- define "baton.names" -}}
{{- $names := list -}}
{{- range include "baton.orchestrations" . | fromJsonArray }}{{ $names = append $names .name }}{{ end -}}
{{- join "," $names -}}
{{- end -}}
