{{/* What the parts have that answer HTTP: the gateway and Flower. */}}

{{- define "feedback.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "feedback.metadata" . | nindent 2 }}
  {{- with .values.service.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .values.service.type }}
  selector: {{- include "feedback.selector" . | nindent 4 }}
  ports:
    - {name: http, port: {{ .values.service.port }}, targetPort: http}
{{- end -}}

{{- define "feedback.ingress" -}}
{{- with .values.ingress }}
{{- if .enabled }}
{{- if not .hosts }}
{{- fail (printf "%s.ingress.hosts is empty: name the hosts that it is for" $.part) }}
{{- end }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "feedback.metadata" $ | nindent 2 }}
  {{- with .annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
    {{- range .hosts }}
    - host: {{ . | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ include "feedback.part" $ }}
                port: {name: http}
    {{- end }}
  {{- with .tls }}
  tls: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The path under which Flower answers, of its option --url_prefix: '' without one. */}}
{{- define "feedback.flowerPrefix" -}}
{{- range .Values.flower.extraArgs -}}
{{- if regexMatch "^--url[_-]prefix=" . }}/{{ regexReplaceAll "^--url[_-]prefix=" . "" | trimAll "/" }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Where Flower is, for `aquilax-feedback doctor` in a worker. */}}
{{- define "feedback.flowerUrl" -}}
{{- printf "http://%s.%s.svc:%v%s" (include "feedback.part" (dict "root" . "part" "flower")) .Release.Namespace .Values.flower.service.port (include "feedback.flowerPrefix" .) -}}
{{- end -}}
