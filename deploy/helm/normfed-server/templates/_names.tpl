{{- define "normfed.name" -}}
{{ printf "%s-normfed-server" .Release.Name | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "normfed.selector" -}}
app.kubernetes.io/name: normfed-server
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "normfed.labels" -}}
{{ include "normfed.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "normfed.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* What PodSecurity calls restricted, and a root that nobody writes to. */ -}}
{{- define "normfed.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "normfed.mounts" -}}
- {name: state, mountPath: /var/lib/normfed}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "normfed.probe" -}}
exec:
  command:
    - python
    - -c
    - from urllib.request import urlopen; urlopen("http://127.0.0.1:8080/healthz", timeout=8)
timeoutSeconds: 10
{{- end }}
