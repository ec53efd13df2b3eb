{{/* Names and labels. `part` is worker, gateway, …; a part's templates are given (dict "root" $ "part" …). */}}

{{- define "feedback.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough that what is added to it, down to a pod's own hash, is a host name: a worker is called by that. */}}
{{- define "feedback.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = include "feedback.name" . -}}
{{- if not (contains $name .Release.Name) }}{{ $name = printf "%s-%s" .Release.Name $name }}{{ else }}{{ $name = .Release.Name }}{{ end -}}
{{- end -}}
{{- $name | trunc 36 | trimSuffix "-" -}}
{{- end -}}

{{- define "feedback.part" -}}
{{- printf "%s-%s" (include "feedback.fullname" .root) .part -}}
{{- end -}}

{{/* What stays the same over all releases: Deployments and Services choose pods by it. */}}
{{- define "feedback.selector" -}}
app.kubernetes.io/name: {{ include "feedback.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "feedback.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: aquilax-feedback
{{- end -}}

{{- define "feedback.labels" -}}
{{ include "feedback.selector" . }}
{{ include "feedback.commonLabels" .root }}
{{- end -}}

{{- define "feedback.metadata" -}}
name: {{ include "feedback.part" . }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "feedback.labels" . | nindent 2 }}
{{- end -}}

{{- define "feedback.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ printf "%s@%s" .repository .digest }}{{ else }}{{ printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "feedback.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "feedback.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* Whether there is an exporter: '' for no. */}}
{{- define "feedback.hasExporter" -}}
{{- if or .Values.exporter.enabled (and .Values.worker.enabled .Values.worker.autoscaling.enabled) }}true{{ end -}}
{{- end -}}
