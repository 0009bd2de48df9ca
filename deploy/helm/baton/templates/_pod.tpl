{{/*
The pod template of a program:
root, component, orchestration and agent (a worker's), pod (its own part of values), auth, args, env (a list), secrets,
port (name and number of what answers health checks), grace (seconds), annotations, preStopSeconds, mountsManifests.
*/}}
{{- define "baton.pod" -}}
{{- $root := .root -}}
{{- $pod := .pod -}}
metadata:
  labels:
    {{- include "baton.podLabels" . | nindent 4 }}
    {{- with $pod.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with merge (dict) (.annotations | default dict) ($pod.annotations | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "baton.serviceAccount" . }}
  automountServiceAccountToken: false
  # Or a Service called nats, or baton-…, would put variables into the programs' environment.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .grace }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $pod.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $pod.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- $labels := include "baton.selectorLabels" . | fromYaml }}
    {{- range $pod.topologySpreadConstraints }}
    - {{- merge (dict) . (dict "labelSelector" (dict "matchLabels" $labels)) | toYaml | nindent 6 }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- include "baton.podSecurity" . | nindent 4 }}
  containers:
    - name: {{ .component }}
      {{- include "baton.container" $root | nindent 6 }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        - name: POD_NAME
          valueFrom: { fieldRef: { fieldPath: metadata.name } }
        - name: POD_NAMESPACE
          valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
        # The process that journal, traces and `nats service ls` name is the pod that `kubectl logs` takes.
        - name: BATON_PROCESS
          value: $(POD_NAME)
        {{- with .env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- include "baton.env" . | nindent 8 }}
        {{- with $pod.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .secrets }}
      envFrom:
        {{- range . }}
        - secretRef: { name: {{ . }} }
        {{- end }}
      {{- end }}
      ports:
        - name: {{ .port.name }}
          containerPort: {{ .port.number }}
      # Alive is whose event loop turns, whatever NATS does: an outage must not restart the fleet.
      startupProbe:
        httpGet: { path: /livez, port: {{ .port.name }} }
        periodSeconds: 2
        failureThreshold: 30
      livenessProbe:
        httpGet: { path: /livez, port: {{ .port.name }} }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: { path: /readyz, port: {{ .port.name }} }
        periodSeconds: 3
        timeoutSeconds: 2
      {{- with .preStopSeconds }}
      lifecycle:
        preStop:
          sleep: { seconds: {{ . }} }
      {{- end }}
      {{- with $pod.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- $mounts := include "baton.mounts" . | trim }}
      {{- if $mounts }}
      volumeMounts:
        {{- $mounts | nindent 8 }}
      {{- end }}
  {{- $volumes := include "baton.volumes" . | trim }}
  {{- if $volumes }}
  volumes:
    {{- $volumes | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The restricted Pod Security Standard; the group may read mounted credentials. */}}
{{- define "baton.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "baton.container" -}}
image: {{ include "baton.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{/* The broker, logs and traces: `root`, `auth`. */}}
{{- define "baton.env" -}}
{{- $root := .root -}}
{{- $auth := include "baton.auth" . | fromYaml -}}
{{- with $root.Values.nats -}}
- name: NATS_URL
  value: {{ .url | quote }}
{{- range $variable, $key := dict "NATS_USER" $auth.user "NATS_PASSWORD" $auth.password "NATS_TOKEN" $auth.token }}
{{- if $key }}
- name: {{ $variable }}
  valueFrom: { secretKeyRef: { name: {{ $auth.existingSecret }}, key: {{ $key }} } }
{{- end }}
{{- end }}
{{- range $variable, $file := dict "NATS_CREDS" "creds" "NATS_NKEY" "nkey" }}
{{- if get $auth $file }}
- name: {{ $variable }}
  value: /etc/baton/nats/{{ $file }}
{{- end }}
{{- end }}
{{- range $file := list "ca" "cert" "key" }}
{{- if and $root.Values.nats.tls.existingSecret (get $root.Values.nats.tls $file) }}
- name: NATS_{{ upper $file }}
  value: /etc/baton/tls/{{ $file }}
{{- end }}
{{- end }}
{{- end }}
- name: BATON_LOG_FORMAT
  value: {{ $root.Values.log.format }}
{{- with $root.Values.log.filter }}
- name: BATON_LOG
  value: {{ . | quote }}
{{- end }}
{{- with $root.Values.otel.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- if not (hasKey $root.Values.otel.env "OTEL_RESOURCE_ATTRIBUTES") }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME)
{{- end }}
{{- end }}
{{- range $variable, $value := $root.Values.otel.env }}
- name: {{ $variable }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* A program's own way to log in, else everybody's. */}}
{{- define "baton.auth" -}}
{{- $auth := .auth | default .root.Values.nats.auth -}}
{{- $keys := compact (list $auth.creds $auth.nkey $auth.user $auth.password $auth.token) -}}
{{- if and $auth.existingSecret (not $keys) -}}
{{- fail (printf "auth: name the keys of the Secret %s: creds, nkey, user and password, or token" $auth.existingSecret) -}}
{{- end -}}
{{- if and $keys (not $auth.existingSecret) -}}
{{- fail "auth: name the Secret that holds the credentials: existingSecret" -}}
{{- end -}}
{{- toYaml $auth -}}
{{- end -}}

{{- define "baton.mounts" -}}
{{- $auth := include "baton.auth" . | fromYaml -}}
{{- if .mountsManifests }}
- { name: orchestrations, mountPath: /etc/baton/orchestrations, readOnly: true }
{{- end }}
{{- if or $auth.creds $auth.nkey }}
- { name: nats, mountPath: /etc/baton/nats, readOnly: true }
{{- end }}
{{- if .root.Values.nats.tls.existingSecret }}
- { name: tls, mountPath: /etc/baton/tls, readOnly: true }
{{- end }}
{{- end -}}

{{- define "baton.volumes" -}}
{{- $root := .root -}}
{{- $auth := include "baton.auth" . | fromYaml -}}
{{- if .mountsManifests }}
- name: orchestrations
  projected:
    sources:
      {{- range include "baton.orchestrations" $root | fromJsonArray }}
      {{- $name := .name }}
      - configMap:
          name: {{ include "baton.fullname" $root }}-{{ $name }}
          items:
            - { key: orchestration.yaml, path: {{ $name }}/orchestration.yaml }
            {{- range $path, $_ := .files }}
            - { key: {{ include "baton.fileKey" $path }}, path: {{ $name }}/{{ $path }} }
            {{- end }}
      {{- end }}
{{- end }}
{{- if or $auth.creds $auth.nkey }}
- name: nats
  secret:
    secretName: {{ $auth.existingSecret }}
    defaultMode: 0440
    items:
      {{- range $file := list "creds" "nkey" }}
      {{- with get $auth $file }}
      - { key: {{ . }}, path: {{ $file }} }
      {{- end }}
      {{- end }}
{{- end }}
{{- with $root.Values.nats.tls }}
{{- if .existingSecret }}
- name: tls
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      {{- $tls := . }}
      {{- range $file := list "ca" "cert" "key" }}
      {{- with get $tls $file }}
      - { key: {{ . }}, path: {{ $file }} }
      {{- end }}
      {{- end }}
{{- end }}
{{- end }}
{{- end -}}
