{{/* Names and labels. A release's name may hold dots, which names of Services and processes may not. */}}
{{- define "baton.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{- define "baton.fullname" -}}
{{- $name := include "baton.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $full | replace "." "-" -}}
{{- end -}}

{{/* The name of one of the fixed components; a Service's name has the tightest limit. */}}
{{- define "baton.component" -}}
{{- include "baton.checkName" (printf "%s-%s" (include "baton.fullname" .root) .component) -}}
{{- end -}}

{{- define "baton.checkName" -}}
{{- if gt (len .) 63 -}}
{{- fail (printf "the name %q has %d characters, and Kubernetes takes 63: shorten the release's name, or set fullnameOverride" . (len .)) -}}
{{- end -}}
{{- . -}}
{{- end -}}

{{- define "baton.serviceAccount" -}}
{{- if .root.Values.serviceAccount.create -}}
{{- include "baton.component" . -}}
{{- else -}}
{{- .root.Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "baton.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What selects pods, and therefore never changes: `root`, `component`, for a worker `orchestration` and `agent`. */}}
{{- define "baton.selectorLabels" -}}
app.kubernetes.io/name: {{ include "baton.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .orchestration }}
baton/orchestration: {{ . | quote }}
{{- end }}
{{- with .agent }}
baton/agent: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* A pod's: nothing that changes while the program does not, or it would be replaced for nothing. */}}
{{- define "baton.podLabels" -}}
{{ include "baton.selectorLabels" . }}
app.kubernetes.io/part-of: baton
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "baton.labels" -}}
{{ include "baton.podLabels" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{- end -}}

{{- define "baton.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "baton.labels" . | nindent 2 }}
{{- end -}}
