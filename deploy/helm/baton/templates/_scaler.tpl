{{/*
What KEDA scales a worker by: `num_pending + num_ack_pending` of the agent's consumer, that is what waits for a worker and
what workers hold. A conversation that waits for a person is neither.
*/}}
{{- define "baton.scaler" -}}
{{- $nats := .root.Values.nats.monitoring }}
{{- if not $nats.endpoint }}
{{- fail "nats.monitoring.endpoint: KEDA needs it, as in nats-headless.nats.svc.cluster.local:8222" }}
{{- end }}
{{- $keda := .root.Values.keda }}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "baton.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  minReplicaCount: {{ int .scaling.min }}
  maxReplicaCount: {{ int .scaling.max }}
  pollingInterval: {{ $keda.pollingInterval }}
  cooldownPeriod: {{ $keda.cooldownPeriod }}
  {{- with $keda.fallback }}
  fallback:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $keda.behavior }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- toYaml . | nindent 8 }}
  {{- end }}
  triggers:
    - type: nats-jetstream
      metadata:
        natsServerMonitoringEndpoint: {{ $nats.endpoint | quote }}
        useHttps: {{ $nats.https | quote }}
        account: {{ $nats.account | quote }}
        {{- with $nats.accountId }}
        accountID: {{ . | quote }}
        {{- end }}
        stream: baton-{{ .orchestration }}
        consumer: agent-{{ .agent }}
        lagThreshold: {{ int .scaling.backlogPerReplica | quote }}
        # One waiting item is enough to wake the first worker.
        activationLagThreshold: "0"
{{- end -}}

{{/* At most so many pods of a Deployment leave at once when nodes are drained; those that are not ready, at any time. */}}
{{- define "baton.disruption" -}}
{{- if .root.Values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "baton.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .root.Values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "baton.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end -}}
