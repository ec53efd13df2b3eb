{{/* What the pods of all parts have in common. */}}

{{- define "feedback.pod.metadata" -}}
labels: {{- merge (include "feedback.labels" . | fromYaml) .root.Values.podLabels | toYaml | nindent 2 }}
{{- $made := dict -}}
{{- range $secret := include "feedback.secrets.needed" . | fromJsonArray -}}
{{- with (index $.root.Values.secrets $secret).value }}{{ $_ := set $made $secret . }}{{ end -}}
{{- end -}}
{{- $annotations := merge (dict) (.values.podAnnotations | default dict) .root.Values.podAnnotations -}}
{{- /* Enough to notice a change, and too little to try passwords against. */ -}}
{{- if $made }}{{ $_ := set $annotations "checksum/secrets" (toJson $made | sha256sum | trunc 6) }}{{ end -}}
{{- with $annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "feedback.pod.spec" -}}
{{/* A hook runs before the chart's own account is there. */ -}}
serviceAccountName: {{ if and (eq .part "migrate") .root.Values.serviceAccount.create }}default{{ else }}{{ include "feedback.serviceAccount" .root }}{{ end }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where the pods of a part run, beside one another. */}}
{{- define "feedback.pod.spread" -}}
{{- with .root.Values.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml . | nindent 4 }}
    labelSelector:
      matchLabels: {{- include "feedback.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "feedback.container" -}}
name: {{ .part }}
image: {{ include "feedback.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- with .values.resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "feedback.mounts" -}}
- name: tmp
  mountPath: /tmp
- name: secrets
  mountPath: {{ include "feedback.secrets.folder" . }}
  readOnly: true
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* /tmp is all that a part writes to: a worker's heartbeat, once a second. */}}
{{- define "feedback.volumes" -}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{ include "feedback.secrets.volume" . }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An HTTP probe. `port` is a port's name. */}}
{{- define "feedback.probe" -}}
httpGet: {path: {{ .path }}, port: {{ .port }}{{ with .scheme }}, scheme: {{ . }}{{ end }}}
{{- end -}}
