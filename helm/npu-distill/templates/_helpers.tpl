{{- define "npu-distill.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{/* Name of everything in the release, with room for what is added: the release's own if it names the chart already. */}}
{{- define "npu-distill.fullname" -}}
{{- $name := include "npu-distill.name" . -}}
{{- $own := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $own | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "npu-distill.selectorLabels" -}}
app.kubernetes.io/name: {{ include "npu-distill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "npu-distill.labels" -}}
{{ include "npu-distill.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "npu-distill.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "npu-distill.fullname" .) -}}
{{- end -}}

{{/* image reference: (list <image values> <root>) */}}
{{- define "npu-distill.image" -}}
{{- $image := index . 0 -}}
{{- $root := index . 1 -}}
{{- printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}

{{/* securityContext of the operator's container at Pod Security restricted; its Pod's is a value. */}}
{{- define "npu-distill.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
What the operator may do in the namespaces that it watches. It reads no Secret: a teacher's key goes from the Secret
into the stage Pod by the kubelet's hand.
*/}}
{{- define "npu-distill.rules" -}}
- apiGroups: [npu-distill.io]
  resources: [distilldatasets, finetuneruns, evalruns]
  verbs: [list, watch]
- apiGroups: [npu-distill.io]
  resources: [distilldatasets/status, finetuneruns/status, evalruns/status]
  verbs: [patch]
# Children carry blockOwnerDeletion; where the API server enforces the right to set it (OpenShift), this is that right.
- apiGroups: [npu-distill.io]
  resources: [distilldatasets/finalizers, finetuneruns/finalizers, evalruns/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, get, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Deletion is the garbage collector's.
- apiGroups: [""]
  resources: [services]
  verbs: [get, create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* CEL: whether the metadata that is named are those of a child of an object of ours. */}}
{{- define "npu-distill.celOwned" -}}
has({{ . }}.labels) && 'app.kubernetes.io/managed-by' in {{ . }}.labels
&& {{ . }}.labels['app.kubernetes.io/managed-by'] == 'npu-distill' && has({{ . }}.ownerReferences)
&& {{ . }}.ownerReferences.exists_one(owner, has(owner.controller) && owner.controller
&& owner.apiVersion.startsWith('npu-distill.io/'))
{{- end -}}

{{/* CEL: a string of the regular expression that a list of patterns is, in which * is any text. */}}
{{- define "npu-distill.celPattern" -}}
{{- $parts := list -}}
{{- range . -}}
{{- $parts = append $parts (regexQuoteMeta . | replace "\\*" ".*") -}}
{{- end -}}
{{- printf "^(%s)$" (join "|" $parts) | toJson -}}
{{- end -}}

{{/* What the configuration gives some stage Pod of its node: its host paths, its network, its privileges. */}}
{{- define "npu-distill.configuredPods" -}}
{{- $hostPaths := list -}}
{{- $hostNetwork := false -}}
{{- $privileged := false -}}
{{- range $settings := concat (values .Values.stages) (values .Values.profiles) (values .Values.servers) -}}
{{- if $settings -}}
{{- range $settings.volumes -}}
{{- with .hostPath -}}
{{- $hostPaths = append $hostPaths .path -}}
{{- end -}}
{{- end -}}
{{- $hostNetwork = or $hostNetwork $settings.hostNetwork -}}
{{- $privileged = or $privileged (dig "privileged" false ($settings.containerSecurityContext | default dict)) -}}
{{- end -}}
{{- end -}}
hostPaths: {{ $hostPaths | uniq | sortAlpha | toJson }}
hostNetwork: {{ $hostNetwork | default false }}
privileged: {{ $privileged | default false }}
{{- end -}}

{{/* metadata.annotations of everything in the release. */}}
{{- define "npu-distill.annotations" -}}
{{- with .Values.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
