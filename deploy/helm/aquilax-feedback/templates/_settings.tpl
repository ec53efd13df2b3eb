{{/* Settings as variables, and secrets as files. */}}

{{/* Where a pod's secrets are. */}}
{{- define "feedback.secrets.folder" -}}/run/secrets/feedback{{- end -}}

{{/* The variable of each secret of the values. */}}
{{- define "feedback.secrets.variables" -}}
apiKey: AQUILAX_API_KEY
orgKeys: AQUILAX_KEYS
brokerUrl: FEEDBACK_BROKER_URL
databaseUrl: FEEDBACK_DATABASE_URL
outboxUrl: FEEDBACK_OUTBOX_URL
flowerLogin: FLOWER_BASIC_AUTH
notifyUrls: FEEDBACK_NOTIFY_URLS
notifySecret: FEEDBACK_NOTIFY_SECRET
{{- end -}}

{{/* The secrets that a part needs, as a list: workers and the doctor also those of notifications and
     the keys of single orgs, where they are given. With these no other key is needed. */}}
{{- define "feedback.secrets.needed" -}}
{{- /* A proxy that names users is a login as well. */ -}}
{{- $login := .root.Values.secrets.flowerLogin -}}
{{- $header := "FEEDBACK_DASHBOARD_PROXY_HEADER" -}}
{{- $proxied := or (get .root.Values.settings $header) (get .root.Values.flower.settings $header) -}}
{{- $ofFlower := list "brokerUrl" "databaseUrl" -}}
{{- if or $login.existingSecret $login.value (not $proxied) }}{{ $ofFlower = append $ofFlower "flowerLogin" }}{{ end -}}
{{- $needed := dict
  "worker" (list "apiKey" "brokerUrl" "databaseUrl")
  "gateway" (list "brokerUrl")
  "flower" $ofFlower
  "relay" (list "brokerUrl" "outboxUrl")
  "exporter" (list "brokerUrl" "databaseUrl")
  "migrate" (list "databaseUrl")
  "doctor" (list "apiKey" "brokerUrl" "databaseUrl") -}}
{{- $all := get $needed .part -}}
{{- if has .part (list "worker" "doctor") -}}
{{- $ofOrgs := .root.Values.secrets.orgKeys -}}
{{- $ofAll := .root.Values.secrets.apiKey -}}
{{- if and (or $ofOrgs.existingSecret $ofOrgs.value) (not (or $ofAll.existingSecret $ofAll.value)) }}{{ $all = without $all "apiKey" }}{{ end -}}
{{- range $secret := list "orgKeys" "notifyUrls" "notifySecret" -}}
{{- $given := index $.root.Values.secrets $secret -}}
{{- if or $given.existingSecret $given.value }}{{ $all = append $all $secret }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* The name of the Secret with one of the values' secrets. The Job runs before the chart's own Secret is there. */}}
{{- define "feedback.secrets.name" -}}
{{- $given := index .root.Values.secrets .secret -}}
{{- if and $given.existingSecret $given.value -}}
{{- fail (printf "secrets.%s: existingSecret and value are both set: unset one of them" .secret) -}}
{{- else if $given.existingSecret -}}
{{- $given.existingSecret -}}
{{- else if $given.value -}}
{{- include "feedback.fullname" .root }}{{ if eq .part "migrate" }}-migrate{{ end -}}
{{- else -}}
{{- fail (printf "secrets.%s is not set, and %s needs it: set existingSecret to the name of a Secret that has the key %s, or value" .secret .part $given.key) -}}
{{- end -}}
{{- end -}}

{{/* The key in that Secret. */}}
{{- define "feedback.secrets.key" -}}
{{- $given := index .root.Values.secrets .secret -}}
{{- if $given.existingSecret }}{{ $given.key }}{{ else }}{{ get (include "feedback.secrets.variables" .root | fromYaml) .secret }}{{ end -}}
{{- end -}}

{{/* A value as a program reads it: YAML's numbers without an exponent. */}}
{{- define "feedback.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* The variables of a part: its secrets' files, its settings over those of all parts, and what is given besides.
     `own` are those that the chart decides. */}}
{{- define "feedback.env" -}}
{{- $all := dict -}}
{{- /* Not `merge`, to which 0 and false are no values. */ -}}
{{- /* The Job reads its URL alone: a setting of Redis that has no URL beside it would be refused. */ -}}
{{- range $given := list (eq .part "migrate" | ternary dict .root.Values.settings) .values.settings .own -}}
{{- range $name, $value := $given }}{{ $_ := set $all $name (include "feedback.text" $value) }}{{ end -}}
{{- end -}}
{{- $variables := include "feedback.secrets.variables" .root | fromYaml -}}
{{- range $secret := include "feedback.secrets.needed" . | fromJsonArray -}}
{{- $variable := get $variables $secret -}}
{{- $_ := set $all (printf "%s_FILE" $variable) (printf "%s/%s" (include "feedback.secrets.folder" $) $variable) -}}
{{- end -}}
{{- range $name := keys $all | sortAlpha }}
- name: {{ $name }}
  value: {{ get $all $name | quote }}
{{- end }}
{{- with concat .root.Values.extraEnv (.values.extraEnv | default list) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The volume of a part's secrets. Its group may read them, which is the pod's fsGroup. */}}
{{- define "feedback.secrets.volume" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- $variables := include "feedback.secrets.variables" .root | fromYaml }}
      {{- range $secret := include "feedback.secrets.needed" . | fromJsonArray }}
      {{- $which := dict "root" $.root "part" $.part "secret" $secret }}
      - secret:
          name: {{ include "feedback.secrets.name" $which }}
          items:
            - key: {{ include "feedback.secrets.key" $which }}
              path: {{ get $variables $secret }}
      {{- end }}
{{- end -}}
