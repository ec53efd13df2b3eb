#!/usr/bin/env bash
# Helm 4.2.3 (its engine, as helm-python-sdk 0.2.2): `merge` lets 0, false and '' of the map with precedence lose.
#
# Its documentation says that `merge` gives "precedence to the dest dictionary", the first one. That holds for values that
# Go does not take for empty. Values of a chart such as `enabled: false` or `limit: 0`, laid over the defaults of all parts
# with `merge (dict) .Values.part .Values.common`, are replaced by the common ones without a word. `mergeOverwrite` with
# the maps the other way round keeps them.
#
# Seen:
#   merge (dict "zero" 0 "no" false "empty" "" "one" 1) (dict "zero" 5 "no" true "empty" "full" "one" 2)
#   {"empty":"full","no":true,"one":1,"zero":5}
#   mergeOverwrite of the same maps, the second one first
#   {"empty":"","no":false,"one":1,"zero":0}
#
# Exits with status 0 while that is so, and with 1 if it has changed. Needs Python 3.11 or newer, and the package index.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check helm-python-sdk==0.2.2

mkdir -p chart/templates
printf 'apiVersion: v2\nname: chart\nversion: 0.1.0\n' > chart/Chart.yaml
cat > chart/templates/merged.yaml <<'EOF'
{{- $first := dict "zero" 0 "no" false "empty" "" "one" 1 }}
{{- $second := dict "zero" 5 "no" true "empty" "full" "one" 2 }}
{{ merge (dict) $first $second | toJson }}
{{ mergeOverwrite (dict) $second $first | toJson }}
EOF
rendered=$(venv/bin/python -c '
import helm_python
print(helm_python.helm_sdk_version())
print(*helm_python.Chart.load("chart").render({}, name="r").values())' | sed '/^\s*$/d; s/^ *//')
echo "$rendered"

expected='v4.2.3
{"empty":"full","no":true,"one":1,"zero":5}
{"empty":"","no":false,"one":1,"zero":0}'
[ "$rendered" = "$expected" ] || { echo "It has changed."; exit 1; }
